package wire

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keyturn/keyturn/internal/fault"
)

const formType = "application/x-www-form-urlencoded"

var (
	errMissingAction   = fault.Kind{Code: "MissingAction", Status: http.StatusBadRequest}
	errInvalidAction   = fault.Kind{Code: "InvalidAction", Status: http.StatusBadRequest}
	errMalformedQuery  = fault.Kind{Code: "MalformedQueryString", Status: http.StatusBadRequest}
	errMalformedInput  = fault.Kind{Code: "MalformedInput", Status: http.StatusBadRequest}
	errNotGetNotPost   = fault.Kind{Code: "UnsupportedHttpVerb", Status: http.StatusBadRequest}
	errRepeatedInQuery = errMalformedQuery.Errorf("A parameter must not be given twice.")
)

// query is the AWS Query protocol: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
type query struct{}

func (query) operation(_ *service, r *http.Request) (*operation, error) {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return nil, errNotGetNotPost.Errorf("The HTTP method must be GET or POST.")
	}
	return nil, nil
}

func (query) decode(c *call) error {
	form, err := formOf(c)
	if err != nil {
		return err
	}
	action, version := form.Get("Action"), form.Get("Version")
	if action == "" {
		return errMissingAction.Errorf("The request is missing an action or a required parameter.")
	}
	c.event.Name = action
	c.op = c.service.byAction[action]
	if c.op == nil || version != c.service.Version {
		c.op = nil
		return errInvalidAction.Errorf("Could not find operation %s for version %s", bounded(action), bounded(version))
	}
	c.in = c.op.newIn()
	return decodeForm(form, c.in)
}

// bounded keeps a stranger's word short in an answer.
func bounded(s string) string { return s[:min(len(s), 128)] }

// formOf joins the parameters of the URL and of the body. Those of a presigned
// URL belong to the signature and are no input.
func formOf(c *call) (url.Values, error) {
	raw := c.request.URL.RawQuery
	if c.request.Method == http.MethodPost && strings.HasPrefix(c.request.Header.Get("Content-Type"), formType) {
		raw += "&" + string(c.body)
	}
	form, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errMalformedQuery.Errorf("The query string contains a syntax error.")
	}
	for name, values := range form {
		if strings.HasPrefix(name, "X-Amz-") {
			delete(form, name)
		} else if len(values) > 1 {
			return nil, errRepeatedInQuery
		}
	}
	return form, nil
}

func (query) encode(c *call, out any) (answer, error) {
	body, err := encodeResult(c, out)
	return answer{status: c.op.status, contentType: "text/xml", body: body}, err
}

// queryNames holds the failures that the Query protocol spells in its own way.
var queryNames = map[string]fault.Kind{
	"MissingAuthenticationTokenException": {Code: "MissingAuthenticationToken", Status: 403},
	"IncompleteSignatureException":        {Code: "IncompleteSignature", Status: 400},
	"UnrecognizedClientException":         {Code: "InvalidClientTokenId", Status: 403},
	"ExpiredTokenException":               {Code: "ExpiredToken", Status: 403},
	"InvalidSignatureException":           {Code: "SignatureDoesNotMatch", Status: 403},
	"AccessDeniedException":               {Code: "AccessDenied", Status: 403},
	"ValidationException":                 {Code: "ValidationError", Status: 400},
	"ThrottlingException":                 {Code: "Throttling", Status: 400},
	"SerializationException":              {Code: "MalformedInput", Status: 400},
	"RequestEntityTooLargeException":      {Code: "RequestEntityTooLarge", Status: 413},
	"InternalServiceError":                {Code: "InternalFailure", Status: 500},
}

func (query) refuse(s *service, f *fault.Fault, requestID string) answer {
	kind, renamed := queryNames[f.Kind.Code]
	if !renamed {
		kind = f.Kind
	}
	blame := "Sender"
	if kind.Status >= 500 {
		blame = "Receiver"
	}
	x := &xmlWriter{}
	x.open("ErrorResponse", s.namespace())
	x.open("Error", "")
	x.leaf("Type", blame)
	x.leaf("Code", kind.Code)
	x.leaf("Message", f.Message)
	x.close("Error")
	x.leaf("RequestId", requestID)
	x.close("ErrorResponse")
	return answer{status: kind.Status, contentType: "text/xml", body: x.Bytes()}
}

func (s *service) namespace() string {
	if s.Namespace != "" {
		return s.Namespace
	}
	return "http://" + s.Name + ".amazonaws.com/doc/" + s.Version + "/"
}
