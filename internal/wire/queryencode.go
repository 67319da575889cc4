package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// elementNames holds the name of a list's elements where it is not "member",
// by the name of the list. An empty name stands for that of the element's type:
// those lists have the same name in clusters and instances and differ in it.
var elementNames = map[string]string{
	"AssociatedRoles":                        "",
	"StatusInfos":                            "",
	"AvailabilityZones":                      "AvailabilityZone",
	"DBClusterMembers":                       "DBClusterMember",
	"DBClusterOptionGroupMemberships":        "DBClusterOptionGroup",
	"DBClusters":                             "DBCluster",
	"DBInstanceAutomatedBackupsReplications": "DBInstanceAutomatedBackupsReplication",
	"DBInstances":                            "DBInstance",
	"DBParameterGroups":                      "DBParameterGroup",
	"DBSecurityGroups":                       "DBSecurityGroup",
	"DomainMemberships":                      "DomainMembership",
	"OptionGroupMemberships":                 "OptionGroupMembership",
	"ProcessorFeatures":                      "ProcessorFeature",
	"ReadReplicaDBClusterIdentifiers":        "ReadReplicaDBClusterIdentifier",
	"ReadReplicaDBInstanceIdentifiers":       "ReadReplicaDBInstanceIdentifier",
	"ReadReplicaIdentifiers":                 "ReadReplicaIdentifier",
	"Subnets":                                "Subnet",
	"TagList":                                "Tag",
	"VpcSecurityGroups":                      "VpcSecurityGroupMembership",
}

// encodeResult writes a whole answer. An Output without members has no result
// element.
func encodeResult(c *call, out any) ([]byte, error) {
	x := &xmlWriter{}
	response, result := c.op.action+"Response", c.op.action+"Result"
	x.open(response, c.service.namespace())
	v := reflect.ValueOf(out).Elem()
	if hasMembers(v.Type()) {
		x.open(result, "")
		if err := x.members(v); err != nil {
			return nil, err
		}
		x.close(result)
	}
	x.open("ResponseMetadata", "")
	x.leaf("RequestId", c.requestID)
	x.close("ResponseMetadata")
	x.close(response)
	return x.Bytes(), nil
}

func hasMembers(t reflect.Type) bool {
	for i := range t.NumField() {
		if isMember(t.Field(i)) {
			return true
		}
	}
	return false
}

func isMember(f reflect.StructField) bool {
	return f.IsExported() && !f.Anonymous && f.Name != "ResultMetadata"
}

type xmlWriter struct{ bytes.Buffer }

func (x *xmlWriter) open(name, namespace string) {
	x.WriteByte('<')
	x.WriteString(name)
	if namespace != "" {
		x.WriteString(` xmlns="` + namespace + `"`)
	}
	x.WriteByte('>')
}

func (x *xmlWriter) close(name string) { x.WriteString("</" + name + ">") }

func (x *xmlWriter) leaf(name, text string) {
	x.open(name, "")
	_ = xml.EscapeText(x, []byte(text)) // a Buffer takes everything
	x.close(name)
}

func (x *xmlWriter) members(v reflect.Value) error {
	t := v.Type()
	for i := range t.NumField() {
		if !isMember(t.Field(i)) {
			continue
		}
		if err := x.member(t.Field(i).Name, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// member writes one value; nil and, for enumerations, "" are absent.
func (x *xmlWriter) member(name string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return x.value(name, v.Elem())
	case reflect.Slice, reflect.Map:
		if v.IsNil() {
			return nil
		}
	case reflect.String:
		if v.String() == "" {
			return nil
		}
	}
	return x.value(name, v)
}

func (x *xmlWriter) value(name string, v reflect.Value) error {
	switch {
	case v.Type() == timeType:
		x.leaf(name, v.Interface().(time.Time).UTC().Format("2006-01-02T15:04:05.000Z"))
		return nil
	case v.Kind() == reflect.Struct:
		x.open(name, "")
		defer x.close(name)
		return x.members(v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		x.leaf(name, base64.StdEncoding.EncodeToString(v.Bytes()))
		return nil
	case v.Kind() == reflect.Slice:
		return x.list(name, v)
	}
	return x.scalar(name, v)
}

func (x *xmlWriter) list(name string, v reflect.Value) error {
	element, named := elementNames[name]
	switch {
	case !named:
		element = "member"
	case element == "":
		element = v.Type().Elem().Name()
	}
	x.open(name, "")
	defer x.close(name)
	for i := range v.Len() {
		if err := x.value(element, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (x *xmlWriter) scalar(name string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		x.leaf(name, v.String())
	case reflect.Bool:
		x.leaf(name, strconv.FormatBool(v.Bool()))
	case reflect.Int32, reflect.Int64:
		x.leaf(name, strconv.FormatInt(v.Int(), 10))
	case reflect.Float32, reflect.Float64:
		x.leaf(name, strconv.FormatFloat(v.Float(), 'f', -1, v.Type().Bits()))
	default:
		return fmt.Errorf("encoding %s: the Query protocol has no %s", name, v.Kind())
	}
	return nil
}
