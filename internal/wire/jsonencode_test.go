package wire

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// checkEncodes compares appendJSON with what it stands for, byte by byte but for
// the order of maps.
func checkEncodes(t *testing.T, v any) {
	t.Helper()
	want, wantErr := json.Marshal(v, wireJSON, json.Deterministic(true))
	got, err := appendJSON(nil, v)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%T: %v, want %v", v, err, wantErr)
	}
	if err != nil {
		return
	}
	if c := jsontext.Value(want); c.Canonicalize() != nil || string(c) != canonical(t, got) {
		t.Errorf("%T:\ngot  %s\nwant %s", v, got, want)
	}
}

func canonical(t *testing.T, text []byte) string {
	t.Helper()
	v := jsontext.Value(append([]byte(nil), text...))
	if err := v.Canonicalize(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return string(v)
}

func TestEveryTypeEncodesAsMarshalDoes(t *testing.T) {
	for _, client := range []reflect.Type{reflect.TypeFor[*secretsmanager.Client](), reflect.TypeFor[*lambda.Client](), reflect.TypeFor[*rds.Client]()} {
		for _, types := range typesOf(client) {
			for _, typ := range types {
				checkEncodes(t, reflect.New(typ).Interface())
				v := filled(typ)
				checkEncodes(t, v.Addr().Interface())
			}
		}
	}
}

type tagged struct {
	One string `json:"uno,omitempty"`
	Two *int64
}

type embedding struct {
	tagged
	Three bool
}

type recursive struct {
	Name string
	Next *recursive
	All  []recursive
}

func TestOddTypesEncodeAsMarshalDoes(t *testing.T) {
	two := int64(2)
	for _, v := range []any{
		&tagged{Two: &two}, &embedding{tagged{"1", &two}, true}, &recursive{"a", &recursive{Name: "b"}, []recursive{{Name: "c"}}},
		&struct{ At *time.Time }{}, &struct{ Raw jsontext.Value }{jsontext.Value(`{"a":1}`)},
		&struct{ M map[string][]string }{map[string][]string{"b": {"x", "\"", ""}, "a": nil, "ä\n": {}}},
		&struct{ M map[string][]string }{map[string][]string{"\xff": nil}}, &struct{ M map[string][]string }{map[string][]string{"a": {"\xff"}}},
		&struct{ M map[string][]string }{}, &struct{ M map[string]string }{map[string]string{"a": "b"}},
		&struct{ S, T []*string }{S: []*string{nil}}, &struct{ B [][]byte }{[][]byte{{}, {1}}},
		&struct{ F float64 }{1.5}, &struct{ U uint8 }{7}, &struct{ A any }{"x"},
	} {
		checkEncodes(t, v)
	}
}

// Strings of every kind: what is no UTF-8 is refused by both.
func FuzzEncode(f *testing.F) {
	f.Add("plain", []byte{0, 255}, int64(1_700_000_000_123))
	f.Add("\" \\ \n \u2028 <&>é\U0001F511", []byte(nil), int64(0))
	f.Add("\xff", []byte("x"), int64(-1))
	f.Fuzz(func(t *testing.T, text string, blob []byte, millis int64) {
		at := time.UnixMilli(millis % 1e14)
		checkEncodes(t, &secretsmanager.GetSecretValueOutput{Name: &text, SecretBinary: blob, CreatedDate: &at, VersionStages: []string{text, ""}})
	})
}

func BenchmarkEncode(b *testing.B) {
	out := filled(reflect.TypeFor[secretsmanager.GetSecretValueOutput]()).Addr().Interface()
	b.Run("appendJSON", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 1024)
		for b.Loop() {
			if _, err := appendJSON(dst, out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Marshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(out, wireJSON); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Every byte at every place of strings around the length of a word.
func TestQuotedAsByJSONText(t *testing.T) {
	for length := 1; length < 20; length++ {
		for at := range length {
			for c := range 256 {
				raw := bytes.Repeat([]byte("a"), length)
				raw[at] = byte(c)
				got, gotErr := appendQuoted([]byte("x"), string(raw))
				want, wantErr := jsontext.AppendQuote([]byte("x"), raw)
				if string(got) != string(want) || (gotErr == nil) != (wantErr == nil) {
					t.Fatalf("%q: got %s, %v, want %s, %v", raw, got, gotErr, want, wantErr)
				}
			}
		}
	}
}

func FuzzQuoted(f *testing.F) {
	f.Add("plain text of some length \x7f")
	f.Fuzz(func(t *testing.T, s string) {
		got, gotErr := appendQuoted(nil, s)
		want, wantErr := jsontext.AppendQuote(nil, s)
		if string(got) != string(want) || (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("got %s, %v, want %s, %v", got, gotErr, want, wantErr)
		}
	})
}
