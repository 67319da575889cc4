package keyturn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

const (
	shopAccount = "111122223333"
	bankAccount = "444455556666"
)

// wantRefusal expects an AWS error with this code, whose message holds part.
func wantRefusal(t *testing.T, err error, code, part string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), part) {
		t.Errorf("got %v, want %s: %s", err, code, part)
	}
}

func putNew(t *testing.T, cfg aws.Config, name, value string) {
	t.Helper()
	_, err := secretsmanager.NewFromConfig(cfg).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
}

func getValue(t *testing.T, cfg aws.Config, id string) (string, error) {
	t.Helper()
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", err
	}
	return *out.SecretString, nil
}

func statement(effect, action, resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":%q,"Action":%q,"Resource":%q}]}`, effect, action, resource)
}

func keyID(t *testing.T, cfg aws.Config) string {
	t.Helper()
	c, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.AccessKeyID
}

func TestAccountsAndRegionsAreApart(t *testing.T) {
	s := keyturntest.NewServer(t)
	shop := s.As(t, shopAccount, "app", keyturnapi.AdministratorPolicy)
	bank := s.As(t, bankAccount, "app", keyturnapi.AdministratorPolicy)
	abroad := bank.Copy()
	abroad.Region = "eu-west-1"
	for value, cfg := range map[string]aws.Config{"shop": shop, "bank": bank, "abroad": abroad} {
		putNew(t, cfg, "same/name", value)
	}
	for want, cfg := range map[string]aws.Config{"shop": shop, "bank": bank, "abroad": abroad} {
		if got, err := getValue(t, cfg, "same/name"); got != want {
			t.Errorf("%s reads %q, %v", want, got, err)
		}
		list, err := secretsmanager.NewFromConfig(cfg).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
		if err != nil || len(list.SecretList) != 1 {
			t.Fatalf("%s lists %v, %v", want, list, err)
		}
		account := bankAccount
		if want == "shop" {
			account = shopAccount
		}
		if arn := *list.SecretList[0].ARN; !strings.HasPrefix(arn, "arn:aws:secretsmanager:"+cfg.Region+":"+account+":secret:same/name-") {
			t.Errorf("%s lists %s", want, arn)
		}
	}
	if _, err := getValue(t, s.Config, "same/name"); err == nil {
		t.Error("the operators' account has a secret that it never made")
	}
}

// A key that may read some secrets learns nothing of the others, not even
// whether they exist.
func TestReaderReadsItsSecretsOnly(t *testing.T) {
	s := keyturntest.NewServer(t)
	putNew(t, s.As(t, shopAccount, "ops", keyturnapi.AdministratorPolicy), "prod/db", "hunter2")
	putNew(t, s.As(t, shopAccount, "ops", keyturnapi.AdministratorPolicy), "test/db", "hunter3")
	reader := s.As(t, shopAccount, "reader", statement("Allow", "secretsmanager:GetSecretValue",
		"arn:aws:secretsmanager:us-east-1:"+shopAccount+":secret:prod/*"))
	if got, err := getValue(t, reader, "prod/db"); got != "hunter2" {
		t.Errorf("reading what is allowed: %v", err)
	}
	_, err := getValue(t, reader, "prod/nothing")
	wantRefusal(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	var texts []string
	for _, name := range []string{"test/db", "test/no"} {
		_, err := getValue(t, reader, name)
		wantRefusal(t, err, "AccessDeniedException", "User: arn:aws:iam::111122223333:user/reader is not authorized to perform: "+
			"secretsmanager:GetSecretValue on resource: "+name+" because no identity-based policy allows the secretsmanager:GetSecretValue action")
		texts = append(texts, strings.ReplaceAll(lastLine(err), name, ""))
	}
	if texts[0] != texts[1] {
		t.Errorf("an existing secret and a missing one are told apart:\n%s\n%s", texts[0], texts[1])
	}
	_, err = secretsmanager.NewFromConfig(reader).DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("prod/db")})
	wantRefusal(t, err, "AccessDeniedException", "secretsmanager:DeleteSecret")
}

func lastLine(err error) string {
	var api smithy.APIError
	errors.As(err, &api)
	return api.ErrorMessage()
}

func TestAccessKeyStopsAtOnce(t *testing.T) {
	s := keyturntest.NewServer(t)
	app := s.As(t, shopAccount, "app", keyturnapi.AdministratorPolicy)
	putNew(t, app, "s", "v")
	ops, id := keyturnapi.New(s.Config), keyID(t, app)
	works := func(want bool) {
		t.Helper()
		_, err := getValue(t, app, "s")
		if want && err != nil {
			t.Errorf("an active key: %v", err)
		}
		if !want {
			wantRefusal(t, err, "UnrecognizedClientException", "The security token included in the request is invalid.")
		}
	}
	works(true)
	for _, status := range []string{keyturnapi.StatusInactive, keyturnapi.StatusActive} {
		if _, err := ops.UpdateAccessKey(t.Context(), &keyturnapi.UpdateAccessKeyInput{AccessKeyID: id, Status: status}); err != nil {
			t.Fatal(err)
		}
		works(status == keyturnapi.StatusActive)
	}
	if _, err := ops.DeleteAccessKey(t.Context(), &keyturnapi.DeleteAccessKeyInput{AccessKeyID: id}); err != nil {
		t.Fatal(err)
	}
	works(false)
	_, err := ops.DeleteAccessKey(t.Context(), &keyturnapi.DeleteAccessKeyInput{AccessKeyID: id})
	wantRefusal(t, err, "NoSuchEntityException", "The Access Key with id "+id+" cannot be found.")
}

func TestTemporaryKey(t *testing.T) {
	var ahead atomic.Int64
	s := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	out, err := keyturnapi.New(s.Config).CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "ci",
		PolicyDocuments: []string{keyturnapi.AdministratorPolicy}, DurationSeconds: 900})
	if err != nil {
		t.Fatal(err)
	}
	id, c := out.AccessKey.AccessKeyID, out.Credentials
	if !strings.HasPrefix(id, "ASIA") || out.AccessKey.Expiration == nil || !out.AccessKey.Expiration.Equal(out.AccessKey.CreateDate.Add(900*time.Second)) {
		t.Errorf("a temporary key: %+v", out.AccessKey)
	}
	list := func(token string) error {
		cfg := s.Config.Copy()
		cfg.Credentials = credentials.NewStaticCredentialsProvider(id, c.SecretAccessKey, token)
		_, err := secretsmanager.NewFromConfig(cfg).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
		return err
	}
	if err := list(c.SessionToken); err != nil {
		t.Errorf("with its token: %v", err)
	}
	for _, token := range []string{"", "wrong", c.SessionToken[1:]} {
		wantRefusal(t, list(token), "UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	ahead.Store(int64(15*time.Minute + time.Second))
	wantRefusal(t, list(c.SessionToken), "ExpiredTokenException", "The security token included in the request is expired")
	wantRefusal(t, list("wrong"), "UnrecognizedClientException", "")
}

// A key that lasts has no token, and one that is sent along is wrong.
func TestLastingKeyTakesNoToken(t *testing.T) {
	s := keyturntest.NewServer(t)
	c, err := s.Config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.Config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "token")
	_, err = secretsmanager.NewFromConfig(cfg).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
	wantRefusal(t, err, "UnrecognizedClientException", "")
}

func TestCallerIdentity(t *testing.T) {
	s := keyturntest.NewServer(t)
	identity := func(cfg aws.Config) *sts.GetCallerIdentityOutput {
		t.Helper()
		out, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	app := identity(s.As(t, shopAccount, "app", statement("Deny", "*", "*")))
	if *app.Account != shopAccount || *app.Arn != "arn:aws:iam::111122223333:user/app" || !strings.HasPrefix(*app.UserId, "AIDA") || len(*app.UserId) != 21 {
		t.Errorf("%s %s %s", *app.Account, *app.Arn, *app.UserId)
	}
	if again := identity(s.As(t, shopAccount, "app")); *again.UserId != *app.UserId {
		t.Error("another key of the user has another UserId")
	}
	if other := identity(s.As(t, bankAccount, "app")); *other.UserId == *app.UserId {
		t.Error("another account's user has the same UserId")
	}
	if admin := identity(s.Config); *admin.Arn != "arn:aws:iam::000000000000:user/admin" {
		t.Errorf("the first key is %s", *admin.Arn)
	}
	info, err := sts.NewFromConfig(s.Config).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: aws.String(keyID(t, s.As(t, shopAccount, "app")))})
	if err != nil || *info.Account != shopAccount {
		t.Errorf("GetAccessKeyInfo: %v, %v", info, err)
	}
	_, err = sts.NewFromConfig(s.Config).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: aws.String("AKIANOBODY0000000000")})
	wantRefusal(t, err, "InvalidClientTokenId", "")
}

// What STS sends is AWS's XML, to the namespace.
func TestSTSOnTheWire(t *testing.T) {
	s := keyturntest.NewServer(t)
	for _, tc := range []struct {
		action, version string
		status          int
		parts           []string
	}{
		{"GetCallerIdentity", "2011-06-15", 200, []string{
			`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`,
			`<Arn>arn:aws:iam::000000000000:user/admin</Arn>`, `<Account>000000000000</Account>`, `<ResponseMetadata><RequestId>`}},
		{"AssumeRole", "2011-06-15", 400, []string{`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidAction</Code>`,
			`<Message>Could not find operation AssumeRole for version 2011-06-15</Message>`}},
		{"GetCallerIdentity", "2014-10-31", 400, []string{`<Code>InvalidAction</Code>`}},
	} {
		status, body := postSTS(t, s, url.Values{"Action": {tc.action}, "Version": {tc.version}})
		if status != tc.status {
			t.Errorf("%s: status %d", tc.action, status)
		}
		for _, part := range tc.parts {
			if !strings.Contains(body, part) {
				t.Errorf("%s: no %s in\n%s", tc.action, part, body)
			}
		}
	}
}

func postSTS(t *testing.T, s *keyturntest.Server, form url.Values) (status int, body string) {
	t.Helper()
	const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/?"+form.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := v4.NewSigner().SignHTTP(t.Context(), c, r, emptyHash, "sts", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestKeysOfOtherAccounts(t *testing.T) {
	s := keyturntest.NewServer(t)
	shop, bank := s.As(t, shopAccount, "boss", keyturnapi.AdministratorPolicy), s.As(t, bankAccount, "boss", keyturnapi.AdministratorPolicy)
	boss := keyturnapi.New(shop)
	_, err := boss.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "app"})
	if err != nil {
		t.Errorf("an administrator makes no key in its own account: %v", err)
	}
	for name, call := range map[string]func() error{
		"create": func() error {
			_, err := boss.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{AccountID: bankAccount, UserName: "app"})
			return err
		},
		"create for the operators": func() error {
			_, err := boss.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{AccountID: keyturn.DefaultAccount, UserName: "app"})
			return err
		},
		"list": func() error {
			_, err := boss.ListAccessKeys(t.Context(), &keyturnapi.ListAccessKeysInput{AccountID: bankAccount})
			return err
		},
		"list all": func() error {
			_, err := boss.ListAccessKeys(t.Context(), &keyturnapi.ListAccessKeysInput{AccountID: keyturnapi.AllAccounts})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, call(), "AccessDeniedException", "user/boss is not authorized") })
	}
	for _, id := range []string{keyID(t, bank), "AKIANOBODY0000000000"} {
		_, err := boss.DeleteAccessKey(t.Context(), &keyturnapi.DeleteAccessKeyInput{AccessKeyID: id})
		wantRefusal(t, err, "NoSuchEntityException", "The Access Key with id "+id+" cannot be found.")
	}
	all, err := keyturnapi.New(s.Config).ListAccessKeys(t.Context(), &keyturnapi.ListAccessKeysInput{AccountID: keyturnapi.AllAccounts})
	if err != nil || len(all.AccessKeys) != 4 {
		t.Errorf("the operators list %v, %v", all, err)
	}
	own, err := boss.ListAccessKeys(t.Context(), &keyturnapi.ListAccessKeysInput{UserName: "app"})
	if err != nil || len(own.AccessKeys) != 1 || own.AccessKeys[0].AccountID != shopAccount {
		t.Errorf("an account's administrator lists %v, %v", own, err)
	}
}

// Who may make keys for one user only makes none for others.
func TestKeyMakerForOneUser(t *testing.T) {
	s := keyturntest.NewServer(t)
	maker := keyturnapi.New(s.As(t, shopAccount, "maker", statement("Allow", "keyturn:CreateAccessKey", "arn:aws:iam::"+shopAccount+":user/app")))
	if _, err := maker.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "app"}); err != nil {
		t.Error(err)
	}
	_, err := maker.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "boss"})
	wantRefusal(t, err, "AccessDeniedException", "keyturn:CreateAccessKey on resource: arn:aws:iam::111122223333:user/boss")
}

func TestLastAdministratorStays(t *testing.T) {
	s := keyturntest.NewServer(t)
	admin, first := keyturnapi.New(s.Config), keyID(t, s.Config)
	s.As(t, shopAccount, "boss", keyturnapi.AdministratorPolicy)
	s.As(t, keyturn.DefaultAccount, "reader", statement("Allow", "secretsmanager:*", "*"))
	end := func(id string) error {
		_, off := admin.UpdateAccessKey(t.Context(), &keyturnapi.UpdateAccessKeyInput{AccessKeyID: id, Status: keyturnapi.StatusInactive})
		_, gone := admin.DeleteAccessKey(t.Context(), &keyturnapi.DeleteAccessKeyInput{AccessKeyID: id})
		if (off == nil) != (gone == nil) {
			t.Errorf("disabling: %v, deleting: %v", off, gone)
		}
		return gone
	}
	wantRefusal(t, end(first), "ConflictException", "the last one that may make access keys in account 000000000000")
	second := s.As(t, keyturn.DefaultAccount, "second", keyturnapi.AdministratorPolicy)
	admin = keyturnapi.New(second)
	if err := end(first); err != nil {
		t.Errorf("with a second administrator: %v", err)
	}
	wantRefusal(t, end(keyID(t, second)), "ConflictException", "")
}

func TestAccessKeyRefused(t *testing.T) {
	s := keyturntest.NewServer(t)
	type input = keyturnapi.CreateAccessKeyInput
	for name, tc := range map[string]struct {
		in   input
		code string
	}{
		"no user":        {input{}, "ValidationException"},
		"user's name":    {input{UserName: "a/b"}, "ValidationException"},
		"account":        {input{UserName: "a", AccountID: "1"}, "ValidationException"},
		"every account":  {input{UserName: "a", AccountID: "*"}, "ValidationException"},
		"short session":  {input{UserName: "a", DurationSeconds: 899}, "ValidationException"},
		"long session":   {input{UserName: "a", DurationSeconds: 129601}, "ValidationException"},
		"long policy":    {input{UserName: "a", PolicyDocuments: []string{strings.Repeat(" ", 6145)}}, "ValidationException"},
		"many policies":  {input{UserName: "a", PolicyDocuments: make([]string, 11)}, "ValidationException"},
		"no policy":      {input{UserName: "a", PolicyDocuments: []string{"{}"}}, "MalformedPolicyDocumentException"},
		"with principal": {input{UserName: "a", PolicyDocuments: []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`}}, "MalformedPolicyDocumentException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keyturnapi.New(s.Config).CreateAccessKey(t.Context(), &tc.in)
			wantRefusal(t, err, tc.code, "")
		})
	}
}

// The last use is told at once, and survives a restart in order.
func TestLastUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var id string
	t.Run("first server", func(t *testing.T) {
		s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = dir })
		app := s.As(t, keyturn.DefaultAccount, "app", keyturnapi.AdministratorPolicy)
		id = keyID(t, app)
		if used := lastUse(t, s, id); used != nil {
			t.Errorf("a new key was used: %+v", used)
		}
		app.Region = "eu-central-1"
		putNew(t, app, "s", "v")
		checkUse(t, lastUse(t, s, id))
	})
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = dir })
	checkUse(t, lastUse(t, s, id))
}

func lastUse(t *testing.T, s *keyturntest.Server, id string) *keyturnapi.AccessKeyLastUsed {
	t.Helper()
	out, err := keyturnapi.New(s.AWSConfig()).ListAccessKeys(t.Context(), &keyturnapi.ListAccessKeysInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range out.AccessKeys {
		if k.AccessKeyID == id {
			return k.AccessKeyLastUsed
		}
	}
	t.Fatalf("no key %s", id)
	return nil
}

func checkUse(t *testing.T, used *keyturnapi.AccessKeyLastUsed) {
	t.Helper()
	if used == nil || used.Region != "eu-central-1" || used.ServiceName != "secretsmanager" || time.Since(used.LastUsedDate) > time.Hour {
		t.Errorf("last used: %+v", used)
	}
}

func TestAccessKeysAreSealedOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	server := mustOpen(t, dir)
	out, err := keyturnapi.New(server.AWSConfig()).CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "ci", DurationSeconds: 900})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range []string{out.Credentials.SecretAccessKey, out.Credentials.SessionToken} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds it in the clear", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The file with the first access key is not written again once the key is gone,
// and never with another one.
func TestCredentialsFileOfADeletedKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	server := mustOpen(t, dir)
	client := keyturnapi.New(server.AWSConfig())
	_, err := client.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "ops", PolicyDocuments: []string{keyturnapi.AdministratorPolicy}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := client.ListAccessKeys(t.Context(), &keyturnapi.ListAccessKeysInput{UserName: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteAccessKey(t.Context(), &keyturnapi.DeleteAccessKeyInput{AccessKeyID: keys.AccessKeys[0].AccessKeyID}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(server.Close(), os.Remove(server.CredentialsFile())); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, dir)
	if _, err := os.Stat(again.CredentialsFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestDevAccessKeyNamesTheAccount(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data, c.Dev = keyturn.InMemory, true })
	reader := s.As(t, shopAccount, "reader", statement("Allow", "secretsmanager:GetSecretValue", "*"))
	for id, want := range map[string]string{
		"111122223333":         "arn:aws:iam::111122223333:user/admin",
		"1111222233334":        "arn:aws:iam::000000000000:user/admin",
		"test":                 "arn:aws:iam::000000000000:user/admin",
		"AKIAIOSFODNN7EXAMPLE": "arn:aws:iam::000000000000:user/admin",
		keyID(t, reader):       "arn:aws:iam::111122223333:user/reader",
	} {
		cfg := s.Config.Copy()
		cfg.Credentials = credentials.NewStaticCredentialsProvider(id, "anything", "")
		out, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		if err != nil || *out.Arn != want {
			t.Errorf("%s: %v, %v; want %s", id, out, err, want)
		}
	}
}

// A key that this server made ends on a dev server too, and does not become an
// administrator's by that.
func TestDevAccessKeyEnds(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data, c.Dev = keyturn.InMemory, true })
	ops := keyturnapi.New(s.AWSConfig())
	out, err := ops.CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "ci", DurationSeconds: 900})
	if err != nil {
		t.Fatal(err)
	}
	id, cfg := out.AccessKey.AccessKeyID, s.Config.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(id, "anything", "")
	refused := func(code string) {
		t.Helper()
		_, err := secretsmanager.NewFromConfig(cfg).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
		wantRefusal(t, err, code, "")
	}
	refused("AccessDeniedException")
	turn := func(status string) {
		t.Helper()
		if _, err := ops.UpdateAccessKey(t.Context(), &keyturnapi.UpdateAccessKeyInput{AccessKeyID: id, Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	turn(keyturnapi.StatusInactive)
	refused("UnrecognizedClientException")
	turn(keyturnapi.StatusActive)
	refused("AccessDeniedException")
	if _, err := ops.AdvanceClock(t.Context(), &keyturnapi.AdvanceClockInput{Seconds: 900}); err != nil {
		t.Fatal(err)
	}
	refused("ExpiredTokenException")
}
