// Package kmstest is a small AWS KMS for tests: Encrypt, Decrypt and DescribeKey
// of symmetric keys, with the encryption context as associated data, as JSON 1.1
// over HTTP. What it encrypts, it encrypts really. Signatures are not checked,
// but the region and the service that a request was signed for are.
package kmstest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/google/uuid"
)

// Server is a running AWS KMS.
type Server struct {
	URL string

	mu    sync.Mutex
	keys  map[string]*key // :: ARN → key
	down  bool
	calls int
}

type key struct {
	aead  cipher.AEAD
	error string // the code that the key answers with; empty: it works
}

// NewServer starts a server that ends with the test, and makes it that of the
// process: AWS_ENDPOINT_URL_KMS and credentials point to it.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{keys: map[string]*key{}}
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	s.URL = listener.URL
	t.Setenv("AWS_ENDPOINT_URL_KMS", s.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return s
}

// Config is the AWS settings of the process, as a server reads them.
func Config(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx) }

// NewKey makes a key and returns its ARN.
func (s *Server) NewKey(region string) string {
	raw := make([]byte, 32)
	rand.Read(raw)
	block, err := aes.NewCipher(raw)
	if err != nil {
		panic(err) // the length is right
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	arn := "arn:aws:kms:" + region + ":111122223333:key/" + uuid.NewString()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[arn] = &key{aead: aead}
	return arn
}

// Break makes a key answer with an error code, such as AccessDeniedException or
// DisabledException; an empty code mends it.
func (s *Server) Break(arn, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[arn].error = code
}

// SetDown begins or ends an outage of the whole service.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Calls returns how many requests have come.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// request has the members of all operations.
type request struct {
	KeyID             string            `json:"KeyId"`
	Plaintext         []byte            `json:"Plaintext"`
	CiphertextBlob    []byte            `json:"CiphertextBlob"`
	EncryptionContext map[string]string `json:"EncryptionContext"`
}

// ServeHTTP answers one operation.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	region, _, _ := strings.Cut(strings.TrimPrefix(in.KeyID, "arn:aws:kms:"), ":")
	k := s.keys[in.KeyID]
	switch {
	case s.down:
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailableException", "down")
	case !strings.Contains(r.Header.Get("Authorization"), "/"+region+"/kms/aws4_request"):
		refuse(w, http.StatusBadRequest, "IncompleteSignature", "signed for another region or service")
	case k == nil:
		refuse(w, http.StatusBadRequest, "NotFoundException", fmt.Sprintf("Key '%s' does not exist", in.KeyID))
	case k.error != "":
		refuse(w, http.StatusBadRequest, k.error, "as the test wants it")
	default:
		k.answer(w, r.Header.Get("X-Amz-Target"), &in)
	}
}

func (k *key) answer(w http.ResponseWriter, target string, in *request) {
	bound, err := json.Marshal(in.EncryptionContext) // sorts the names
	if err != nil {
		panic(err) // texts can be written
	}
	switch target {
	case "TrentService.Encrypt":
		write(w, map[string]any{"KeyId": in.KeyID, "CiphertextBlob": k.aead.Seal(nil, nil, in.Plaintext, bound)}) //nolint:gosec // the cipher draws the nonce
	case "TrentService.Decrypt":
		plain, err := k.aead.Open(nil, nil, in.CiphertextBlob, bound)
		if err != nil {
			refuse(w, http.StatusBadRequest, "InvalidCiphertextException", "")
			return
		}
		write(w, map[string]any{"KeyId": in.KeyID, "Plaintext": plain})
	case "TrentService.DescribeKey":
		write(w, map[string]any{"KeyMetadata": map[string]any{"Arn": in.KeyID, "Enabled": true, "KeyState": "Enabled"}})
	default:
		refuse(w, http.StatusBadRequest, "UnknownOperationException", target)
	}
}

func write(w http.ResponseWriter, out map[string]any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}
