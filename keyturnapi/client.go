package keyturnapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	serviceID    = "keyturn"        // as errors name it
	signingName  = "secretsmanager" // the service in the credential scope
	targetPrefix = "keyturn."       // of X-Amz-Target
	maxAnswer    = 16 << 20         // bytes; 1000 records are far below
	contentType  = "application/x-amz-json-1.1"
)

// Client calls keyturn's own operations. It is safe for concurrent use. A
// request is sent once: AdvanceClock must not happen twice, and who reads
// records asks again anyway.
type Client struct {
	options secretsmanager.Options
	now     func() time.Time
}

// New makes a client that finds its server, region and credentials as a Secrets
// Manager client made of the same arguments would: AWS_ENDPOINT_URL,
// AWS_ENDPOINT_URL_SECRETS_MANAGER, the profile, or an explicit BaseEndpoint.
func New(cfg aws.Config, optFns ...func(*secretsmanager.Options)) *Client {
	return &Client{
		options: secretsmanager.NewFromConfig(cfg, optFns...).Options(),
		now:     time.Now,
	}
}

// ListRotations returns the records of a secret's rotations, newest first. A
// server that is not keyturn answers UnknownOperationException, a
// smithy.APIError like every other refusal.
func (c *Client) ListRotations(ctx context.Context, in *ListRotationsInput) (*ListRotationsOutput, error) {
	return call[ListRotationsOutput](ctx, c, "ListRotations", in)
}

// BatchListRotations returns how the rotations of several secrets stand, in the order of
// the request. Each secret asks for the permission of ListRotations.
func (c *Client) BatchListRotations(ctx context.Context, in *BatchListRotationsInput) (*BatchListRotationsOutput, error) {
	return call[BatchListRotationsOutput](ctx, c, "BatchListRotations", in)
}

// AdvanceClock moves the clock of a server in dev mode forward and returns the
// new time; any other server refuses.
func (c *Client) AdvanceClock(ctx context.Context, in *AdvanceClockInput) (*AdvanceClockOutput, error) {
	return call[AdvanceClockOutput](ctx, c, "AdvanceClock", in)
}

func call[Out any](ctx context.Context, c *Client, operation string, in any) (*Out, error) {
	out := new(Out)
	if err := c.do(ctx, operation, in, out); err != nil {
		return nil, &smithy.OperationError{ServiceID: serviceID, OperationName: operation, Err: err}
	}
	return out, nil
}

func (c *Client) do(ctx context.Context, operation string, in, out any) error {
	body, err := encode(in)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	req, err := c.request(ctx, operation, body)
	if err != nil {
		return err
	}
	resp, err := c.options.HTTPClient.Do(req)
	if err != nil {
		return &smithyhttp.RequestSendError{Err: err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("it is longer than %d bytes", maxAnswer)
	}
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, answer)
	}
	if err := decode(answer, out); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, operation string, body []byte) (*http.Request, error) {
	url, err := c.endpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("resolving the endpoint: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Amz-Target", targetPrefix+operation)
	return req, c.sign(ctx, req, body)
}

func (c *Client) sign(ctx context.Context, req *http.Request, body []byte) error {
	if c.options.Credentials == nil {
		return fmt.Errorf("signing the request: no credentials are configured")
	}
	credentials, err := c.options.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("getting credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), signingName, c.options.Region, c.now())
	if err != nil {
		return fmt.Errorf("signing the request: %w", err)
	}
	return nil
}

// endpoint asks the Secrets Manager client's own resolver, so that this client
// always speaks to the server that the other one speaks to.
func (c *Client) endpoint(ctx context.Context) (string, error) {
	state := c.options.EndpointOptions
	found, err := c.options.EndpointResolverV2.ResolveEndpoint(ctx, secretsmanager.EndpointParameters{
		Region:       aws.String(c.options.Region),
		Endpoint:     c.options.BaseEndpoint,
		UseDualStack: aws.Bool(state.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseFIPS:      aws.Bool(state.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
	})
	if err != nil {
		return "", err
	}
	if found.URI.Path == "" {
		found.URI.Path = "/"
	}
	return found.URI.String(), nil
}

// refusal turns an error answer into a smithy.APIError that also knows the HTTP
// status and the request id.
func refusal(resp *http.Response, body []byte) error {
	failure := &smithy.GenericAPIError{Code: errorCode(resp, body), Fault: smithy.FaultClient}
	if resp.StatusCode >= http.StatusInternalServerError {
		failure.Fault = smithy.FaultServer
	}
	var known struct {
		Upper string `json:"Message"`
		Lower string `json:"message"`
	}
	if decode(body, &known) == nil {
		failure.Message = known.Upper + known.Lower // AWS spells it either way, never both
	}
	return &awshttp.ResponseError{
		RequestID: resp.Header.Get("X-Amzn-RequestId"),
		ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: resp},
			Err:      failure,
		},
	}
}

// errorCode reads the bare code: AWS services may put a namespace before it
// and a URL behind it ("com.amazonaws.x#Code:http://…").
func errorCode(resp *http.Response, body []byte) string {
	var typed struct {
		Type string `json:"__type"`
	}
	code := resp.Header.Get("X-Amzn-ErrorType")
	if decode(body, &typed) == nil && typed.Type != "" {
		code = typed.Type
	}
	code, _, _ = strings.Cut(code, ":")
	if _, after, found := strings.Cut(code, "#"); found {
		code = after
	}
	if code == "" {
		return fmt.Sprintf("UnknownError (HTTP %d)", resp.StatusCode)
	}
	return code
}
