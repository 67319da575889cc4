package wire

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/keyturn/keyturn/internal/fault"
)

const jsonType = "application/x-amz-json-1.1"

var (
	errUnknownOperation = fault.Kind{Code: "UnknownOperationException", Status: http.StatusBadRequest}
	errMediaType        = fault.Kind{Code: "UnsupportedMediaTypeException", Status: http.StatusUnsupportedMediaType}
)

// wireJSON makes the SDK's structs read and write as AWS does: absent members
// are absent and not null, times are numbers. Members that are pointers or
// slices appear as soon as they are not nil, also with a zero or empty value.
var wireJSON = json.JoinOptions(
	json.OmitZeroStructFields(true),
	json.WithMarshalers(json.MarshalToFunc(encodeTime)),
	json.WithUnmarshalers(json.UnmarshalFromFunc(decodeTime)),
)

// encodeTime writes epoch seconds with milliseconds as the fraction.
func encodeTime(e *jsontext.Encoder, t time.Time) error {
	return e.WriteValue(appendEpoch(e.AvailableBuffer(), t))
}

func appendEpoch(dst []byte, t time.Time) []byte {
	return strconv.AppendFloat(dst, float64(t.UnixMilli())/1000, 'f', -1, 64)
}

func decodeTime(d *jsontext.Decoder, t *time.Time) error {
	value, err := d.ReadValue()
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(string(value), 64)
	if err != nil || seconds < -1e11 || seconds > 1e11 {
		return errors.New("not a time in epoch seconds")
	}
	*t = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	return nil
}

// json11 is AWS JSON 1.1: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
type json11 struct{}

func (json11) operation(s *service, r *http.Request) (*operation, error) {
	if r.Method != http.MethodPost {
		return nil, errUnknownOperation.Errorf("Operations are called with POST and an X-Amz-Target header.")
	}
	prefix, action, _ := cutLast(r.Header.Get("X-Amz-Target"), '.')
	op := s.byAction[action]
	if op == nil || prefix != s.TargetPrefix {
		return nil, errUnknownOperation.Errorf("The X-Amz-Target header names no operation of this server.")
	}
	if content := r.Header.Get("Content-Type"); !strings.HasPrefix(content, "application/x-amz-json-1.") {
		return nil, errMediaType.Errorf("The Content-Type must be %s.", jsonType)
	}
	return op, nil
}

func (json11) decode(c *call) error {
	if c.in = c.op.newIn(); decodePlain(c.body, c.in) {
		return nil
	}
	c.in = c.op.newIn()
	return decodeJSON(c.body, c.in)
}

func (json11) encode(c *call, out any) (answer, error) {
	body, err := appendJSON(c.spare.out, out)
	c.spare.out = body
	return answer{status: c.op.status, contentType: jsonType, body: body}, err
}

// frontEnd holds the failures that AWS's front end answers before a service
// sees the request: they spell "message" in lower case.
var frontEnd = map[string]bool{
	"AccessDeniedException":               true,
	"ExpiredTokenException":               true,
	"IncompleteSignatureException":        true,
	"InvalidSignatureException":           true,
	"MissingAuthenticationTokenException": true,
	"RequestEntityTooLargeException":      true,
	"SerializationException":              true,
	"ThrottlingException":                 true,
	"UnknownOperationException":           true,
	"UnrecognizedClientException":         true,
	"UnsupportedMediaTypeException":       true,
	"ValidationException":                 true,
}

func (json11) refuse(_ *service, f *fault.Fault, _ string) answer {
	member := "Message"
	if frontEnd[f.Kind.Code] {
		member = "message"
	}
	return answer{status: f.Kind.Status, contentType: jsonType, body: jsonObject("__type", f.Kind.Code, member, f.Message)}
}

// jsonObject writes pairs of names and strings in the order given.
func jsonObject(pairs ...string) []byte {
	b := []byte{'{'}
	for i, s := range pairs {
		if i > 0 {
			b = append(b, ",:"[i%2])
		}
		// Bytes that are no UTF-8 are replaced; the error only reports them.
		b, _ = jsontext.AppendQuote(b, s)
	}
	return append(b, '}')
}

// decodeJSON reads one object into a struct. No body at all is an empty object.
func decodeJSON(body []byte, in any) error {
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 {
		return nil
	}
	if body[0] != '{' {
		return errBadBody.Errorf("The request body must be a JSON object.")
	}
	if err := json.Unmarshal(body, in, wireJSON); err != nil {
		return errBadBody.Errorf("%s", describe(err))
	}
	return nil
}

// describe tells what is wrong with a body without repeating anything of it:
// it may hold a secret.
func describe(err error) string {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return "The request body is not valid JSON."
	}
	if semantic.GoType == nil || semantic.Err != nil {
		return "The request body holds a value that cannot be read."
	}
	return jsonKind(semantic.JSONKind) + " can not be converted to " + awsType(semantic.GoType)
}

func jsonKind(k jsontext.Kind) string {
	switch k {
	case jsontext.KindString:
		return "STRING_VALUE"
	case jsontext.KindNumber:
		return "NUMBER_VALUE"
	case jsontext.KindTrue:
		return "TRUE_VALUE"
	case jsontext.KindFalse:
		return "FALSE_VALUE"
	case jsontext.KindBeginArray:
		return "START_ARRAY"
	}
	return "START_OBJECT"
}

func awsType(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a String"
	case reflect.Bool:
		return "a Boolean"
	case reflect.Int32:
		return "an Integer"
	case reflect.Int64:
		return "a Long"
	case reflect.Float32, reflect.Float64:
		return "a Double"
	case reflect.Slice:
		return "a List"
	}
	return "a Structure"
}
