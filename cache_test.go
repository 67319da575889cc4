package keyturn_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-secretsmanager-caching-go/v2/secretcache"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// AWS's own caching library: it holds a value while its time lasts, sees a new
// one when that is over or when told to look, and knows labels and bytes.
func TestCachingLibrary(t *testing.T) {
	t.Parallel()
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
	c := sdkStories{server: s, Client: s.SecretsManager}
	c.create(t, "app", "one")
	lasting := newCache(t, s, secretcache.DefaultCacheItemTTL)
	fleeting := newCache(t, s, 1)
	wantCached(t, lasting, "one")
	wantCached(t, fleeting, "one")
	_, err := s.SecretsManager.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("app"), SecretString: aws.String("two")})
	must(t, err)
	wantCached(t, lasting, "one")
	wantCached(t, fleeting, "two")
	lasting.RefreshNow("app")
	wantCached(t, lasting, "two")
	if previous, err := lasting.GetSecretStringWithStage("app", "AWSPREVIOUS"); err != nil || previous != "one" {
		t.Errorf("AWSPREVIOUS = %q, %v", previous, err)
	}
	_, err = lasting.GetSecretString("none")
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
		t.Errorf("got %v", err)
	}
	c.create(t, "bytes", "", func(in *sm.CreateSecretInput) { in.SecretBinary = []byte{0, 255} })
	if value, err := lasting.GetSecretBinary("bytes"); err != nil || string(value) != "\x00\xff" {
		t.Errorf("got %q, %v", value, err)
	}
}

// newCache makes a cache whose values last for ttl nanoseconds.
func newCache(t *testing.T, s *keyturntest.Server, ttl int64) *secretcache.Cache {
	t.Helper()
	cache, err := secretcache.New(func(c *secretcache.Cache) { c.Client, c.CacheItemTTL = s.SecretsManager, ttl })
	must(t, err)
	return cache
}

func wantCached(t *testing.T, cache *secretcache.Cache, want string) {
	t.Helper()
	if got, err := cache.GetSecretString("app"); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
