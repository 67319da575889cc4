package wire

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"

	"github.com/keyturn/keyturn/internal/fault"
)

// restJSON is AWS REST-JSON as Lambda speaks it: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
type restJSON struct{}

var errNoRoute = fault.Kind{Code: "UnknownOperationException", Status: http.StatusNotFound}

// invokeHeaders are the headers that fill In fields of these names (Lambda's Invoke).
var invokeHeaders = map[string]string{
	"ClientContext":        "X-Amz-Client-Context",
	"DurableExecutionName": "X-Amz-Durable-Execution-Name",
	"InvocationType":       "X-Amz-Invocation-Type",
	"LogType":              "X-Amz-Log-Type",
	"TenantId":             "X-Amz-Tenant-Id",
}

// route is one pattern: a method and the segments of a path, of which some
// are labels.
type route struct {
	method   string
	segments []segment
	op       *operation
}

type segment struct {
	text  string // a literal, or the label's name
	label bool
}

// bindings says which In fields do not come from the JSON body.
type bindings struct {
	route   []segment
	query   []binding
	headers []binding
	payload bool // the field Payload takes the body as it is
}

// binding joins a name on the wire and a field of In.
type binding struct{ wire, field string }

func (s *service) addRoute(op *operation) error {
	method, path, ok := strings.Cut(op.pattern, " ")
	if !ok || !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q is no pattern such as \"GET /path/{Name}?Marker\"", op.pattern)
	}
	path, parameters, _ := strings.Cut(path, "?")
	in := reflect.TypeOf(op.newIn()).Elem()
	b := &bindings{route: segmentsOf(path), headers: headersOf(in), payload: hasPayload(in)}
	for _, name := range strings.FieldsFunc(parameters, func(r rune) bool { return r == '&' || r == '?' }) {
		b.query = append(b.query, binding{name, upperFirst(name)})
	}
	op.bindings = b
	s.routes = append(s.routes, route{method: method, segments: b.route, op: op})
	return b.check(in)
}

func segmentsOf(path string) []segment {
	var segments []segment
	for text := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		name, label := strings.CutPrefix(text, "{")
		segments = append(segments, segment{strings.TrimSuffix(name, "}"), label})
	}
	return segments
}

func headersOf(in reflect.Type) (found []binding) {
	if !hasPayload(in) {
		return nil
	}
	for field, header := range invokeHeaders {
		if _, ok := in.FieldByName(field); ok {
			found = append(found, binding{header, field})
		}
	}
	return found
}

func hasPayload(in reflect.Type) bool {
	f, ok := in.FieldByName("Payload")
	return ok && f.Type == reflect.TypeFor[[]byte]()
}

// check refuses a pattern that names a field which In does not have, so that a
// slip of the pen is found when the server starts.
func (b *bindings) check(in reflect.Type) error {
	names := make([]string, 0, len(b.route)+len(b.query))
	for _, s := range b.route {
		if s.label {
			names = append(names, s.text)
		}
	}
	for _, q := range b.query {
		names = append(names, q.field)
	}
	for _, name := range names {
		if _, ok := in.FieldByName(name); !ok {
			return fmt.Errorf("%s has no field %s", in, name)
		}
	}
	return nil
}

func upperFirst(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

func (s *service) hasPath(escaped string) bool {
	parts := partsOf(escaped)
	return slices.ContainsFunc(s.routes, func(r route) bool { return r.matches(parts) })
}

// partsOf splits the path as it stood on the wire: an encoded slash does not
// end a segment.
func partsOf(escaped string) []string { return strings.Split(strings.Trim(escaped, "/"), "/") }

func (r *route) matches(parts []string) bool {
	if len(parts) != len(r.segments) {
		return false
	}
	for i, s := range r.segments {
		if s.label && parts[i] == "" || !s.label && parts[i] != s.text {
			return false
		}
	}
	return true
}

// literals counts what is not a label: of two routes that match, the one with
// more of them is meant.
func (r *route) literals() (n int) {
	for _, s := range r.segments {
		if !s.label {
			n++
		}
	}
	return n
}

func (restJSON) operation(s *service, r *http.Request) (*operation, error) {
	parts := partsOf(r.URL.EscapedPath())
	var best *route
	for i := range s.routes {
		candidate := &s.routes[i]
		if candidate.method == r.Method && candidate.matches(parts) && (best == nil || candidate.literals() > best.literals()) {
			best = candidate
		}
	}
	if best == nil {
		return nil, errNoRoute.Errorf("No operation is found at this method and path.")
	}
	return best.op, nil
}

// decode fills In from the body first; members that are bound to the path, the
// query or a header come from there alone.
func (restJSON) decode(c *call) error {
	c.in = c.op.newIn()
	v, b := reflect.ValueOf(c.in).Elem(), c.op.bindings
	if b.payload {
		v.FieldByName("Payload").SetBytes(c.body)
	} else if err := decodeJSON(c.body, c.in); err != nil {
		return err
	}
	if err := b.fillPath(v, partsOf(c.request.URL.EscapedPath())); err != nil {
		return err
	}
	values, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return errBadBody.Errorf("The query string contains a syntax error.")
	}
	if err := fillAll(v, b.query, values); err != nil {
		return err
	}
	return fillAll(v, b.headers, c.request.Header)
}

func (b *bindings) fillPath(v reflect.Value, parts []string) error {
	for i, s := range b.route {
		if !s.label {
			continue
		}
		text, err := url.PathUnescape(parts[i])
		if err != nil {
			return errBadBody.Errorf("The path contains a syntax error.")
		}
		if err := fillText(v.FieldByName(s.text), s.text, text); err != nil {
			return err
		}
	}
	return nil
}

func fillAll(v reflect.Value, bound []binding, values map[string][]string) error {
	for _, b := range bound {
		field := v.FieldByName(b.field)
		field.SetZero()
		for _, text := range values[b.wire] {
			if err := fillText(field, b.wire, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillText sets a field from text; each text of a list is one more element.
func fillText(field reflect.Value, name, text string) error {
	switch field.Kind() {
	case reflect.Pointer:
		field.Set(reflect.New(field.Type().Elem()))
		return fillText(field.Elem(), name, text)
	case reflect.Slice:
		element := reflect.New(field.Type().Elem()).Elem()
		if err := fillText(element, name, text); err != nil {
			return err
		}
		field.Set(reflect.Append(field, element))
		return nil
	case reflect.String:
		field.SetString(text)
		return nil
	case reflect.Bool:
		field.SetBool(text == "true")
		return nil
	case reflect.Int32, reflect.Int64:
		number, err := strconv.ParseInt(text, 10, field.Type().Bits())
		if err != nil {
			return errBadBody.Errorf("The value of %s is not a valid integer.", name)
		}
		field.SetInt(number)
		return nil
	}
	return errBadBody.Errorf("The parameter %s is not supported.", name)
}

func (restJSON) encode(c *call, out any) (answer, error) {
	if c.op.status == http.StatusNoContent {
		return answer{status: c.op.status}, nil
	}
	body, err := json.Marshal(out, wireJSON)
	return answer{status: c.op.status, contentType: "application/json", body: body}, err
}

// restKinds holds the failures that REST-JSON answers with another code or
// status than JSON 1.1.
var restKinds = map[string]fault.Kind{
	"MissingAuthenticationTokenException": {Code: "MissingAuthenticationTokenException", Status: 403},
	"IncompleteSignatureException":        {Code: "IncompleteSignatureException", Status: 403},
	"UnrecognizedClientException":         {Code: "UnrecognizedClientException", Status: 403},
	"ExpiredTokenException":               {Code: "ExpiredTokenException", Status: 403},
	"InvalidSignatureException":           {Code: "InvalidSignatureException", Status: 403},
	"AccessDeniedException":               {Code: "AccessDeniedException", Status: 403},
	"SerializationException":              {Code: "InvalidRequestContentException", Status: 400},
	"InternalServiceError":                {Code: "ServiceException", Status: 500},
}

// capitalMessage holds the failures of Lambda whose model spells "Message"; all
// others spell "message".
var capitalMessage = map[string]bool{
	"CallbackTimeoutException":                true,
	"CodeSigningConfigNotFoundException":      true,
	"CodeVerificationFailedException":         true,
	"DurableExecutionAlreadyStartedException": true,
	"EC2AccessDeniedException":                true,
	"EC2ThrottledException":                   true,
	"EC2UnexpectedException":                  true,
	"EFSIOException":                          true,
	"EFSMountConnectivityException":           true,
	"EFSMountFailureException":                true,
	"EFSMountTimeoutException":                true,
	"ENILimitReachedException":                true,
	"ENINotReadyException":                    true,
	"InvalidCodeSignatureException":           true,
	"InvalidRuntimeException":                 true,
	"InvalidSecurityGroupIDException":         true,
	"InvalidSubnetIDException":                true,
	"InvalidZipFileException":                 true,
	"KMSAccessDeniedException":                true,
	"KMSDisabledException":                    true,
	"KMSInvalidStateException":                true,
	"KMSNotFoundException":                    true,
	"NoPublishedVersionException":             true,
	"PublicPolicyException":                   true,
	"RecursiveInvocationException":            true,
	"ResourceInUseException":                  true,
	"ResourceNotFoundException":               true,
	"S3FilesMountConnectivityException":       true,
	"S3FilesMountFailureException":            true,
	"S3FilesMountTimeoutException":            true,
	"ServiceException":                        true,
	"ServiceQuotaExceededException":           true,
	"SnapStartException":                      true,
	"SnapStartNotReadyException":              true,
	"SnapStartRegenerationFailureException":   true,
	"SnapStartTimeoutException":               true,
	"SubnetIPAddressLimitReachedException":    true,
}

func (restJSON) refuse(_ *service, f *fault.Fault, _ string) answer {
	kind, renamed := restKinds[f.Kind.Code]
	if !renamed {
		kind = f.Kind
	}
	return answer{
		status: kind.Status, contentType: "application/json", body: restBody(kind, f.Message),
		header: http.Header{"X-Amzn-Errortype": {kind.Code}},
	}
}

func restBody(kind fault.Kind, message string) []byte {
	member, blame := "message", "User"
	if capitalMessage[kind.Code] {
		member = "Message"
	}
	if kind.Status >= 500 {
		blame = "Service"
	}
	if frontEnd[kind.Code] {
		return jsonObject(member, message)
	}
	return jsonObject("Type", blame, member, message)
}
