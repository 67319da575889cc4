package keyturn_test

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
)

// rights are the policies that the model knows, and what they allow in a key's own
// account.
var rights = map[string]struct {
	policies           []string
	reads, tests, keys bool // secrets prod/s and test/s; keyturn:CreateAccessKey and its like
}{
	"administrator": {[]string{keyturnapi.AdministratorPolicy}, true, true, true},
	"reader":        {[]string{statement("Allow", "secretsmanager:Get*", "arn:aws:secretsmanager:*:*:secret:prod/*")}, true, false, false},
	"two":           {[]string{statement("Allow", "secretsmanager:*", "*"), statement("Deny", "*", "arn:aws:secretsmanager:*:*:secret:prod/?-??????")}, false, true, false},
	"denied":        {[]string{keyturnapi.AdministratorPolicy, statement("Deny", "secretsmanager:GetSecretValue", "*")}, false, false, true},
	"keys":          {[]string{statement("Allow", "keyturn:*AccessKey*", "arn:aws:iam::*:user/*")}, false, false, true},
	"nobody":        {nil, false, false, false},
}

type modelKey struct {
	account, right string
	active, lasts  bool
	secret, token  string
}

// keysModel is the access keys that a server should have.
type keysModel struct {
	t      *testing.T
	dir    string
	server *keyturn.Server
	keys   map[string]*modelKey // :: id → key
	ended  map[string]*modelKey // that were deleted
}

// Every key may do what its policies and its state allow, after any sequence of calls,
// made by the keys themselves, also over restarts.
func TestAnyCallsOnAccessKeys(t *testing.T) {
	for range times(t, "KEYTURN_KEY_CALLS", 4) {
		draws := make([]byte, 64<<10)
		_, _ = rand.Read(draws) // never fails
		m := &keysModel{t: t, dir: t.TempDir(), keys: map[string]*modelKey{}, ended: map[string]*modelKey{}}
		m.open()
		m.begin()
		rapid.MakeFuzz(func(rt *rapid.T) {
			rt.Repeat(map[string]func(*rapid.T){"": m.check, "create": m.create, "switch": m.setStatus, "delete": m.delete, "use": m.use, "use again": m.use, "restart": m.restart})
		})(t, draws)
		m.close()
	}
}

func (m *keysModel) open() {
	s, err := keyturn.Open(m.t.Context(), keyturn.Config{Data: m.dir, Log: slog.New(slog.DiscardHandler)})
	m.must(err)
	m.server = s
}

func (m *keysModel) close() { m.must(m.server.Close()) }

func (m *keysModel) restart(*rapid.T) {
	m.close()
	m.open()
}

func (m *keysModel) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// begin makes the secrets of two accounts, and takes up the key that the server made.
func (m *keysModel) begin() {
	all, err := keyturnapi.New(m.server.AWSConfig()).ListAccessKeys(m.t.Context(), &keyturnapi.ListAccessKeysInput{})
	m.must(err)
	first := all.AccessKeys[0]
	m.keys[first.AccessKeyID] = &modelKey{account: first.AccountID, right: "administrator", active: true, lasts: true}
	m.add(keyturn.DefaultAccount, "administrator", 0, m.server.AWSConfig())
	for _, account := range []string{keyturn.DefaultAccount, shopAccount} {
		cfg := m.as(m.add(account, "administrator", 0, m.server.AWSConfig()))
		putNew(m.t, cfg, "prod/s", account)
		putNew(m.t, cfg, "test/s", account)
	}
}

// add makes a key, by whoever cfg is.
func (m *keysModel) add(account, right string, seconds int64, cfg aws.Config) string {
	out, err := keyturnapi.New(cfg).CreateAccessKey(m.t.Context(), &keyturnapi.CreateAccessKeyInput{AccountID: account, UserName: right,
		PolicyDocuments: rights[right].policies, DurationSeconds: seconds})
	m.must(err)
	m.keys[out.AccessKey.AccessKeyID] = &modelKey{account: account, right: right, active: true, lasts: seconds == 0, secret: out.Credentials.SecretAccessKey, token: out.Credentials.SessionToken}
	return out.AccessKey.AccessKeyID
}

// as signs with a key that is there or was.
func (m *keysModel) as(id string) aws.Config {
	k := m.keys[id]
	if k == nil {
		k = m.ended[id]
	}
	cfg := m.server.AWSConfig()
	cfg.Credentials, cfg.RetryMaxAttempts = credentials.NewStaticCredentialsProvider(id, k.secret, k.token), 1
	return cfg
}

// any draws a key, also one that is gone; not the server's own, whose secret is not known.
func (m *keysModel) any(t *rapid.T, what string) (id string, k *modelKey) {
	known := slices.Concat(slices.Collect(maps.Keys(m.keys)), slices.Collect(maps.Keys(m.ended)))
	known = slices.DeleteFunc(known, func(id string) bool { return m.keys[id] != nil && m.keys[id].secret == "" && what == "by" })
	slices.Sort(known)
	id = rapid.SampledFrom(known).Draw(t, what)
	return id, m.keys[id]
}

// refusalOf is the code of the error that a call by a key ends with; "": none.
func refusalOf(by *modelKey, may bool) string {
	switch {
	case by == nil || !by.active:
		return "UnrecognizedClientException"
	case !may:
		return "AccessDeniedException"
	}
	return ""
}

func wantCode(t *rapid.T, err error, want string) {
	got := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		got = api.ErrorCode()
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Fatalf("the server says %q (%v), the model %q", got, err, want)
	}
}

// manages tells whether a key may manage those of an account.
func (k *modelKey) manages(account string) bool {
	return k != nil && rights[k.right].keys && (k.account == account || k.account == keyturn.DefaultAccount)
}

func (m *keysModel) create(t *rapid.T) {
	id, by := m.any(t, "by")
	account := rapid.SampledFrom([]string{keyturn.DefaultAccount, shopAccount}).Draw(t, "account")
	right := rapid.SampledFrom(slices.Sorted(maps.Keys(rights))).Draw(t, "right")
	seconds := rapid.SampledFrom([]int64{0, 0, 3600}).Draw(t, "seconds")
	if want := refusalOf(by, by.manages(account)); want != "" {
		_, err := keyturnapi.New(m.as(id)).CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{AccountID: account, UserName: right, PolicyDocuments: rights[right].policies})
		wantCode(t, err, want)
		return
	}
	m.add(account, right, seconds, m.as(id))
}

// change tells how a change of a key by another must end. A key of another account is one
// that does not exist, to all but the operators.
func (m *keysModel) change(id string, k, by *modelKey, ends bool) string {
	visible := k != nil && by != nil && (k.account == by.account || by.account == keyturn.DefaultAccount)
	if code := refusalOf(by, by != nil && rights[by.right].keys); code != "" {
		return code
	}
	switch {
	case !visible:
		return "NoSuchEntityException"
	case ends && m.isLast(id):
		return "ConflictException"
	}
	return ""
}

func (m *keysModel) isLast(id string) bool {
	administers := func(k *modelKey) bool {
		return k.account == keyturn.DefaultAccount && k.active && k.lasts && rights[k.right].keys
	}
	for other, k := range m.keys {
		if other != id && administers(k) {
			return false
		}
	}
	return administers(m.keys[id])
}

func (m *keysModel) setStatus(t *rapid.T) {
	byID, by := m.any(t, "by")
	id, k := m.any(t, "key")
	status := rapid.SampledFrom([]string{keyturnapi.StatusActive, keyturnapi.StatusInactive}).Draw(t, "status")
	want := m.change(id, k, by, status == keyturnapi.StatusInactive)
	_, err := keyturnapi.New(m.as(byID)).UpdateAccessKey(t.Context(), &keyturnapi.UpdateAccessKeyInput{AccessKeyID: id, Status: status})
	if wantCode(t, err, want); want == "" {
		k.active = status == keyturnapi.StatusActive
	}
}

func (m *keysModel) delete(t *rapid.T) {
	byID, by := m.any(t, "by")
	id, k := m.any(t, "key")
	want := m.change(id, k, by, true)
	_, err := keyturnapi.New(m.as(byID)).DeleteAccessKey(t.Context(), &keyturnapi.DeleteAccessKeyInput{AccessKeyID: id})
	if wantCode(t, err, want); want == "" {
		delete(m.keys, id)
		if k.secret != "" {
			m.ended[id] = k
		}
	}
}

// use calls by a key: Secrets Manager by its policies, STS without any.
func (m *keysModel) use(t *rapid.T) {
	id, by := m.any(t, "by")
	cfg := m.as(id)
	_, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	unknown := refusalOf(by, true)
	if unknown != "" {
		unknown = "InvalidClientTokenId" // as the Query protocol calls it
	}
	wantCode(t, err, unknown)
	for name, may := range map[string]bool{"prod/s": by != nil && rights[by.right].reads, "test/s": by != nil && rights[by.right].tests} {
		out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name})
		want := refusalOf(by, may)
		if wantCode(t, err, want); want == "" && *out.SecretString != by.account {
			t.Fatalf("%s of %s reads the secret of %s", id, by.account, *out.SecretString)
		}
	}
}

// check compares all keys.
func (m *keysModel) check(t *rapid.T) {
	list, err := keyturnapi.New(m.server.AWSConfig()).ListAccessKeys(t.Context(), &keyturnapi.ListAccessKeysInput{AccountID: keyturnapi.AllAccounts, MaxItems: 1000})
	wantCode(t, err, "")
	for _, got := range list.AccessKeys {
		k := m.keys[got.AccessKeyID]
		if k == nil || got.AccountID != k.account || (got.Status == keyturnapi.StatusActive) != k.active || (got.Expiration == nil) != k.lasts ||
			!slices.Equal(got.PolicyDocuments, rights[k.right].policies) {
			t.Fatalf("the server has %+v, the model %+v", got, k)
		}
	}
	if len(list.AccessKeys) != len(m.keys) {
		t.Fatalf("the server has %d keys, the model %d", len(list.AccessKeys), len(m.keys))
	}
}
