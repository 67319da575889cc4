package keyturn_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-secretsmanager-caching-go/v2/secretcache"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// While the server is away the caching library answers what it had, and takes the new
// value soon after the server is back: it waits at most 3.6 s between its tries.
func TestCachingLibraryOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
	sdkStories{server: s, Client: s.SecretsManager}.create(t, "app", "one")
	cut := &cutLine{next: s.SecretsManager.Options().HTTPClient}
	client := sm.New(s.SecretsManager.Options(), func(o *sm.Options) { o.HTTPClient, o.RetryMaxAttempts = cut, 1 })
	cache, err := secretcache.New(func(c *secretcache.Cache) { c.Client, c.CacheItemTTL = client, 1 })
	must(t, err)
	wantCached(t, cache, "one")
	cut.away.Store(true)
	for cut.refused.Load() < 8 { // the pause doubles: a quarter of a second in all
		wantCached(t, cache, "one")
		time.Sleep(time.Millisecond)
	}
	_, err = s.SecretsManager.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("app"), SecretString: aws.String("two")})
	must(t, err)
	cut.away.Store(false)
	value, back := "", time.Now()
	for value != "two" && time.Since(back) < 10*time.Second {
		value, err = cache.GetSecretString("app")
		must(t, err)
		time.Sleep(time.Millisecond)
	}
	if value != "two" {
		t.Errorf("10 s after the server came back: %q", value)
	}
}

// cutLine lets no request through while the server is away.
type cutLine struct {
	next    sm.HTTPClient
	away    atomic.Bool
	refused atomic.Int64
}

// Do implements aws.HTTPClient.
func (c *cutLine) Do(r *http.Request) (*http.Response, error) {
	if c.away.Load() {
		c.refused.Add(1)
		return nil, errors.New("the server is away")
	}
	return c.next.Do(r)
}
