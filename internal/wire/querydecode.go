package wire

import (
	"encoding/base64"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDepth bounds the dots in a parameter's name: no Input is deeper.
const maxDepth = 12

// formNode is one parameter, or all parameters whose names begin alike:
// Tags.Tag.1.Key=a becomes Tags → Tag → 1 → Key → "a".
type formNode struct {
	value    string
	set      bool
	children map[string]*formNode
}

// decodeForm fills the struct that in points to. Parameters that it does not
// know are ignored, as AWS ignores them.
func decodeForm(form url.Values, in any) error {
	root := &formNode{}
	for name, values := range form {
		if strings.Count(name, ".") > maxDepth {
			return errMalformedInput.Errorf("A parameter's name has too many parts.")
		}
		root.put(name, values[0])
	}
	return root.fillStruct(reflect.ValueOf(in).Elem(), "")
}

func (n *formNode) put(name, value string) {
	for part := range strings.SplitSeq(name, ".") {
		child := n.children[part]
		if child == nil {
			child = &formNode{}
			if n.children == nil {
				n.children = map[string]*formNode{}
			}
			n.children[part] = child
		}
		n = child
	}
	n.value, n.set = value, true
}

func (n *formNode) fillStruct(v reflect.Value, path string) error {
	t := v.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		child := n.children[field.Name]
		if child == nil || !field.IsExported() || field.Anonymous {
			continue
		}
		if err := child.fill(v.Field(i), path+field.Name); err != nil {
			return err
		}
	}
	return nil
}

var timeType = reflect.TypeFor[time.Time]()

func (n *formNode) fill(v reflect.Value, path string) error {
	switch {
	case v.Kind() == reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		if err := n.fill(target.Elem(), path); err != nil {
			return err
		}
		v.Set(target)
		return nil
	case v.Type() == timeType:
		return n.fillTime(v, path)
	case v.Kind() == reflect.Struct:
		return n.fillStruct(v, path+".")
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		return n.fillBytes(v, path)
	case v.Kind() == reflect.Slice:
		return n.fillList(v, path)
	}
	return n.fillScalar(v, path)
}

// fillList takes Name.1, Name.member.1 and Name.Element.1 alike. Indices need
// be neither complete nor in order. "Name=" alone is an empty list.
func (n *formNode) fillList(v reflect.Value, path string) error {
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for _, item := range n.items() {
		element := reflect.New(v.Type().Elem()).Elem()
		if err := item.fill(element, path+".member"); err != nil {
			return err
		}
		list = reflect.Append(list, element)
	}
	if list.Len() == 0 && !n.set {
		return errMalformedInput.Errorf("The parameter %s must be a list such as %s.member.1.", path, path)
	}
	v.Set(list)
	return nil
}

// items returns the numbered nodes below n in order.
func (n *formNode) items() []*formNode {
	byIndex := map[int]*formNode{}
	collect := func(children map[string]*formNode) {
		for name, child := range children {
			if index, err := strconv.Atoi(name); err == nil && index > 0 {
				byIndex[index] = child
			}
		}
	}
	collect(n.children)
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		collect(n.children[name].elementsOf(name))
	}
	items := make([]*formNode, 0, len(byIndex))
	for _, index := range slices.Sorted(maps.Keys(byIndex)) {
		items = append(items, byIndex[index])
	}
	return items
}

// elementsOf returns nothing for a number: what is below Name.1 are members.
func (n *formNode) elementsOf(name string) map[string]*formNode {
	if _, err := strconv.Atoi(name); err == nil {
		return nil
	}
	return n.children
}

func (n *formNode) fillScalar(v reflect.Value, path string) error {
	if !n.set {
		return errMalformedInput.Errorf("The parameter %s must be a single value.", path)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.value)
		return nil
	case reflect.Bool:
		if n.value != "true" && n.value != "false" {
			return notA("boolean", path)
		}
		v.SetBool(n.value == "true")
		return nil
	case reflect.Int32, reflect.Int64:
		number, err := strconv.ParseInt(n.value, 10, v.Type().Bits())
		if err != nil {
			return notA("integer", path)
		}
		v.SetInt(number)
		return nil
	case reflect.Float32, reflect.Float64:
		number, err := strconv.ParseFloat(n.value, v.Type().Bits())
		if err != nil {
			return notA("number", path)
		}
		v.SetFloat(number)
		return nil
	}
	return errMalformedInput.Errorf("The parameter %s is not supported.", path)
}

func (n *formNode) fillTime(v reflect.Value, path string) error {
	at, err := time.Parse(time.RFC3339Nano, n.value)
	if err != nil {
		return notA("timestamp in ISO 8601", path)
	}
	v.Set(reflect.ValueOf(at.UTC()))
	return nil
}

func (n *formNode) fillBytes(v reflect.Value, path string) error {
	b, err := base64.StdEncoding.DecodeString(n.value)
	if err != nil {
		return notA("blob in base64", path)
	}
	v.SetBytes(b)
	return nil
}

// notA names the parameter and not its value, which may be a password.
func notA(kind, path string) error {
	return errMalformedInput.Errorf("The value of the parameter %s is not a valid %s.", path, kind)
}
