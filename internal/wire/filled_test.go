package wire

import (
	"context"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/aws/smithy-go/middleware"

	"github.com/keyturn/keyturn/internal/iam"
)

// filled returns a value of type t in which every member is set, each to
// something else.
func filled(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	n := 0
	fill(v, &n, 0)
	return v
}

func fill(v reflect.Value, n *int, depth int) {
	*n++
	switch {
	case depth > 8:
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.UnixMilli(1_700_000_000_000 + int64(*n)).UTC()))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, depth)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); isMember(f) {
				fill(v.Field(i), n, depth+1)
			}
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes([]byte{0, byte(*n), 255})
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n, depth+1)
		fill(v.Index(1), n, depth+1)
	case v.Kind() == reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, n, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), value)
	default:
		fillLeaf(v, *n)
	}
}

func fillLeaf(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(" <&\"é]]> " + strconv.Itoa(n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(n) + 0.25)
	}
}

// anyOp is an operation over types that are known only when the test runs. It
// keeps its last input and answers out.
type anyOp struct {
	in  any
	out any
}

func (o *anyOp) op(action string, in reflect.Type) Op {
	return Op{
		action: action, newIn: func() any { return reflect.New(in).Interface() },
		run: func(_ context.Context, in any, allow func(iam.Resource) error) (any, error) {
			o.in = in
			return o.out, allow(iam.Resource{})
		},
	}
}

// invoke calls a method of an SDK client.
func invoke(client any, action string, in reflect.Value) (any, error) {
	results := reflect.ValueOf(client).MethodByName(action).Call([]reflect.Value{reflect.ValueOf(context.Background()), in.Addr()})
	err, _ := results[1].Interface().(error)
	return results[0].Interface(), err
}

// checkSame compares without what never travels.
func checkSame(t *testing.T, name string, got, want any) {
	t.Helper()
	exported := cmp.FilterPath(func(p cmp.Path) bool {
		field, ok := p.Last().(cmp.StructField)
		return ok && (field.Name() == "" || field.Name()[0] >= 'a' || field.Name() == "ResultMetadata")
	}, cmp.Ignore())
	if diff := cmp.Diff(want, got, exported, cmpopts.IgnoreTypes(middleware.Metadata{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
