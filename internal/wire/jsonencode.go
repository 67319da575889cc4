package wire

import (
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// appendJSON appends v as json.Marshal writes it with wireJSON, in less than half
// the time: the SDK's structs have no tags, no embedded members and no methods
// of their own, so a plan for each type, made once, says it all. Whatever does
// not fit that plan is left to json.Marshal.
func appendJSON(dst []byte, v any) ([]byte, error) {
	value := reflect.ValueOf(v)
	return planOf(value.Type())(dst, value)
}

// encoder appends a value of one type.
type encoder func(dst []byte, v reflect.Value) ([]byte, error)

var plans sync.Map // :: reflect.Type → encoder

func planOf(t reflect.Type) encoder {
	if known, ok := plans.Load(t); ok {
		return known.(encoder)
	}
	// A type that holds itself finds this while its own plan is made.
	var made encoder
	var ready sync.WaitGroup
	ready.Add(1)
	if known, loaded := plans.LoadOrStore(t, encoder(func(dst []byte, v reflect.Value) ([]byte, error) {
		ready.Wait()
		return made(dst, v)
	})); loaded {
		return known.(encoder)
	}
	made = makePlan(t)
	ready.Done()
	plans.Store(t, made)
	return made
}

var (
	stagesType    = reflect.TypeFor[map[string][]string]()
	marshalerType = reflect.TypeFor[json.Marshaler]()
	marshalToType = reflect.TypeFor[json.MarshalerTo]()
)

func makePlan(t reflect.Type) encoder {
	switch {
	case t == timeType:
		return appendTime
	case t == stagesType:
		return appendStages
	case t.Kind() == reflect.Pointer:
		return appendPointer(planOf(t.Elem()))
	case t.Implements(marshalerType) || t.Implements(marshalToType):
		return appendOther
	}
	switch t.Kind() {
	case reflect.String:
		return func(dst []byte, v reflect.Value) ([]byte, error) { return appendQuoted(dst, v.String()) }
	case reflect.Bool:
		return func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendBool(dst, v.Bool()), nil }
	case reflect.Int32, reflect.Int64:
		return func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendInt(dst, v.Int(), 10), nil }
	case reflect.Slice:
		return planSlice(t)
	case reflect.Struct:
		return planStruct(t)
	}
	return appendOther
}

// appendOther leaves a value to json.Marshal.
func appendOther(dst []byte, v reflect.Value) ([]byte, error) {
	text, err := json.Marshal(v.Interface(), wireJSON)
	return append(dst, text...), err
}

func appendTime(dst []byte, v reflect.Value) ([]byte, error) {
	return appendEpoch(dst, v.Interface().(time.Time)), nil
}

// appendStages appends the staging labels of versions, in the order of their ids.
func appendStages(dst []byte, v reflect.Value) (_ []byte, err error) {
	dst = append(dst, '{')
	stages := v.Interface().(map[string][]string)
	for i, id := range slices.Sorted(maps.Keys(stages)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendQuoted(dst, id); err != nil {
			return dst, err
		}
		if dst, err = appendStrings(append(dst, ':'), stages[id]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func appendStrings(dst []byte, all []string) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, s := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendQuoted(dst, s); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendPointer(elem encoder) encoder {
	return func(dst []byte, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		return elem(dst, v.Elem())
	}
}

func planSlice(t reflect.Type) encoder {
	if t.Elem().Kind() == reflect.Uint8 {
		return func(dst []byte, v reflect.Value) ([]byte, error) {
			dst = base64.StdEncoding.AppendEncode(append(dst, '"'), v.Bytes())
			return append(dst, '"'), nil
		}
	}
	elem := planOf(t.Elem())
	return func(dst []byte, v reflect.Value) (_ []byte, err error) {
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = elem(dst, v.Index(i)); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
}

// member is one member of a struct.
type member struct {
	index  int
	name   string // "Name":
	encode encoder
}

// planStruct knows structs whose members are called as their fields are. A field
// that encodes otherwise makes the whole struct one for json.Marshal.
func planStruct(t reflect.Type) encoder {
	var members []member
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Anonymous && f.Type.Size() == 0, f.Name == "ResultMetadata": // the SDK's own
		case f.Anonymous, f.IsExported() && f.Tag != "":
			return appendOther
		case f.IsExported():
			members = append(members, member{i, strconv.Quote(f.Name) + ":", planOf(f.Type)})
		}
	}
	return func(dst []byte, v reflect.Value) ([]byte, error) { return appendMembers(dst, v, members) }
}

// appendMembers leaves out members that are not set, as AWS does.
func appendMembers(dst []byte, v reflect.Value, members []member) (_ []byte, err error) {
	dst = append(dst, '{')
	begin := len(dst)
	for _, m := range members {
		field := v.Field(m.index)
		if field.IsZero() {
			continue
		}
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		if dst, err = m.encode(append(dst, m.name...), field); err != nil {
			return dst, fmt.Errorf("writing %s: %w", m.name, err)
		}
	}
	return append(dst, '}'), nil
}

// buffers are where requests and answers lie while they are worked on. They may
// have held secrets, so they are cleared before they are kept.
type buffers struct{ in, out []byte }

// keptBuffer is the most bytes that a buffer keeps for the next request.
const keptBuffer = 64 << 10

var spare = sync.Pool{New: func() any { return &buffers{in: make([]byte, 0, 512), out: make([]byte, 0, 1024)} }}

func (b *buffers) release() {
	clear(b.in[:cap(b.in)])
	clear(b.out[:cap(b.out)])
	if cap(b.in) > keptBuffer || cap(b.out) > keptBuffer {
		return
	}
	b.in, b.out = b.in[:0], b.out[:0]
	spare.Put(b)
}

// room returns n bytes of b's first buffer.
func (b *buffers) room(n int) []byte {
	b.in = slices.Grow(b.in[:0], n)[:n]
	return b.in
}
