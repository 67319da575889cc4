package transfer_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/transfer"
)

// Whatever calls made a secret, and wherever its import was cut short, what arrives in
// the end is the same. The calls are drawn by chance; a failure shows them.
func TestAnySecretArrives(t *testing.T) {
	from, to := keyturntest.NewServer(t), keyturntest.NewServer(t)
	n := 0
	for range 8 {
		draws := make([]byte, 64<<10)
		_, _ = rand.Read(draws) // never fails
		rapid.MakeFuzz(func(r *rapid.T) {
			n++
			s := &anySecret{api: from.SecretsManager, name: fmt.Sprint("s", n)}
			s.make(r)
			s.arrives(t, r, from, to)
		})(t, draws)
	}
}

// anySecret is a secret that calls drawn by chance have made.
type anySecret struct {
	api  *sm.Client
	name string
}

func (s *anySecret) make(r *rapid.T) {
	in := &sm.CreateSecretInput{Name: &s.name, ClientRequestToken: aws.String(s.version(r)), Description: aws.String(rapid.StringN(0, 30, 2048).Draw(r, "description"))}
	if rapid.Bool().Draw(r, "value") {
		in.SecretString = aws.String(s.text(r))
	}
	if _, err := s.api.CreateSecret(r.Context(), in); err != nil {
		r.Fatal(err)
	}
	for range rapid.IntRange(0, 12).Draw(r, "calls") {
		call := rapid.SampledFrom([]func(*rapid.T) error{s.put, s.put, s.put, s.move, s.move, s.tag, s.policy}).Draw(r, "call")
		_ = call(r) // what the server refuses changes nothing
	}
}

func (s *anySecret) version(r *rapid.T) string {
	return fmt.Sprintf("version-%032d", rapid.IntRange(1, 6).Draw(r, "version"))
}

func (s *anySecret) text(r *rapid.T) string { return rapid.StringN(1, 40, -1).Draw(r, "text") }

func (s *anySecret) labels(r *rapid.T) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "a", "b", "ö/_+=.@-!"}), 0, 4, rapid.ID).Draw(r, "labels")
}

func (s *anySecret) put(r *rapid.T) error {
	in := &sm.PutSecretValueInput{SecretId: &s.name, ClientRequestToken: aws.String(s.version(r)), VersionStages: s.labels(r)}
	if rapid.Bool().Draw(r, "binary") {
		in.SecretBinary = rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(r, "bytes")
	} else {
		in.SecretString = aws.String(s.text(r))
	}
	_, err := s.api.PutSecretValue(r.Context(), in)
	return err
}

func (s *anySecret) move(r *rapid.T) error {
	label := rapid.SampledFrom([]string{"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "a"}).Draw(r, "label")
	d, err := s.api.DescribeSecret(r.Context(), &sm.DescribeSecretInput{SecretId: &s.name})
	if err != nil {
		return err
	}
	in := &sm.UpdateSecretVersionStageInput{SecretId: &s.name, VersionStage: &label}
	if id := holders(d.VersionIdsToStages)[label]; id != "" {
		in.RemoveFromVersionId = &id
	}
	if in.RemoveFromVersionId == nil || rapid.Bool().Draw(r, "to") {
		in.MoveToVersionId = aws.String(s.version(r))
	}
	_, err = s.api.UpdateSecretVersionStage(r.Context(), in)
	return err
}

func (s *anySecret) tag(r *rapid.T) error {
	_, err := s.api.TagResource(r.Context(), &sm.TagResourceInput{SecretId: &s.name, Tags: []types.Tag{{
		Key: aws.String(rapid.StringN(1, 20, -1).Draw(r, "key")), Value: aws.String(rapid.StringN(0, 20, -1).Draw(r, "tag's value"))}}})
	return err
}

func (s *anySecret) policy(r *rapid.T) error {
	_, err := s.api.PutResourcePolicy(r.Context(), &sm.PutResourcePolicyInput{SecretId: &s.name, ResourcePolicy: aws.String(allowReading)})
	return err
}

// arrives imports it, at first over a network that ends after some requests.
func (s *anySecret) arrives(t *testing.T, r *rapid.T, from, to *keyturntest.Server) {
	archive, _ := export(t, s.api, transfer.ExportOptions{IDs: []string{s.name}})
	var left atomic.Int64
	left.Store(int64(rapid.IntRange(0, 30).Draw(r, "requests")))
	cut := sm.NewFromConfig(to.Config, func(o *sm.Options) {
		o.HTTPClient, o.RetryMaxAttempts = failing{&left, http.DefaultClient}, 1
	})
	_, _ = transfer.Import(r.Context(), cut, bytes.NewReader(archive), transfer.ImportOptions{}) // may be cut short
	var failures []error
	_, err := transfer.Import(r.Context(), to.SecretsManager, bytes.NewReader(archive), transfer.ImportOptions{
		Report: func(e transfer.Event) { failures = append(failures, e.Err) }})
	if err != nil {
		r.Fatalf("import: %v, %v", err, failures)
	}
	if diff := cmp.Diff(s.seen(t, from.SecretsManager), s.seen(t, to.SecretsManager)); diff != "" {
		r.Fatalf("another secret has arrived (-from +to):\n%s", diff)
	}
}

// seen is what look says of it.
func (s *anySecret) seen(t *testing.T, api *sm.Client) map[string]any {
	all := look(t, api)
	maps.DeleteFunc(all, func(key string, _ any) bool { return key != s.name && !strings.HasPrefix(key, s.name+" ") })
	return all
}
