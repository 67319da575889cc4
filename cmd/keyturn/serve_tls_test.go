package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/keyturntest"
)

// authority signs certificates of 127.0.0.1.
type authority struct {
	t     *testing.T
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	files tlsFlags
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	dir := t.TempDir()
	a := &authority{t: t, files: tlsFlags{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key = a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	a.must(err)
	a.cert, err = x509.ParseCertificate(der)
	a.must(err)
	return a
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	return key
}

// issue writes a certificate with its key where the server looks.
func (a *authority) issue(serial int64) {
	a.t.Helper()
	key := a.newKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	a.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	a.must(os.WriteFile(a.files.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	a.must(os.WriteFile(a.files.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	written := time.Now().Add(time.Duration(serial) * time.Second) // the file system's clock may not tick between two
	a.must(os.Chtimes(a.files.cert, written, written))
}

// client trusts the authority.
func (a *authority) client() *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func openTLSFront(t *testing.T, a *authority, limits frontLimits) (s *keyturntest.Server, addr string) {
	t.Helper()
	s = keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory })
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	a.must(err)
	secure, err := a.files.over(bounded(listener, limits.connections), slog.New(slog.DiscardHandler))
	a.must(err)
	serveFront(t, s, secure, limits)
	return s, listener.Addr().String()
}

// What may be asked over TLS only is answered: by the server's own HTTP, which
// Secrets Manager's requests take, and by net/http, which RDS's take.
func TestServeSpeaksTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(2)
	s, addr := openTLSFront(t, a, usualLimits)
	key, err := keyturnapi.New(s.AWSConfig()).CreateAccessKey(t.Context(), &keyturnapi.CreateAccessKeyInput{UserName: "app",
		PolicyDocuments: []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}}`}})
	a.must(err)
	cfg := aws.Config{Region: keyturn.DefaultRegion, HTTPClient: a.client(),
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKey.AccessKeyID, key.Credentials.SecretAccessKey, "")}
	for endpoint, served := range map[string]bool{s.URL: false, "https://" + addr: true} {
		cfg.BaseEndpoint = &endpoint
		_, err := secretsmanager.NewFromConfig(cfg).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
		if (err == nil) != served {
			t.Errorf("ListSecrets at %s: %v", endpoint, err)
		}
		_, err = rds.NewFromConfig(cfg).DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{})
		if (err == nil) != served {
			t.Errorf("DescribeDBClusters at %s: %v", endpoint, err)
		}
	}
}

// A renewed certificate serves without a restart; one that cannot be read leaves
// the one before.
func TestServeTakesARenewedCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(2)
	_, addr := openTLSFront(t, a, usualLimits)
	a.wantSerial(addr, 2)
	a.issue(3)
	a.wantSerial(addr, 3)
	a.must(os.WriteFile(a.files.cert, []byte("half a cert"), 0o600))
	a.wantSerial(addr, 3)
	a.issue(4)
	a.wantSerial(addr, 4)
}

// Every handshake looks for the files: that they are gone is told once.
func TestMissingCertificateIsToldOnce(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(2)
	var said strings.Builder
	c := &certificate{files: a.files, log: slog.New(slog.NewTextHandler(&said, nil))}
	a.must(c.load())
	a.must(os.Remove(a.files.cert))
	for range 3 {
		if pair, err := c.current(nil); pair == nil || err != nil {
			t.Fatalf("%v, %v", pair, err)
		}
	}
	if n := strings.Count(said.String(), "\n"); n != 1 {
		t.Errorf("told %d times: %s", n, said.String())
	}
}

func (a *authority) wantSerial(addr string, serial int64) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "https://"+addr+"/livez", nil)
	a.must(err)
	response, err := a.client().Do(r)
	a.must(err)
	defer response.Body.Close()
	if got := response.TLS.PeerCertificates[0].SerialNumber.Int64(); got != serial || response.StatusCode != http.StatusOK {
		a.t.Errorf("certificate %d, %s; want %d", got, response.Status, serial)
	}
}

func TestClientsThatDoNotSpeakTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(2)
	_, addr := openTLSFront(t, a, quickLimits)
	speaks := dial(t, addr)
	_, err := io.WriteString(speaks, getValueHead+"Content-Length: 2\r\n\r\n{}")
	a.must(err)
	if said := wantHungUp(t, speaks); !strings.Contains(said, "400") || !strings.Contains(said, "https://") {
		t.Errorf("a client that speaks HTTP hears %q", said)
	}
	if said := wantHungUp(t, dial(t, addr)); said != "" {
		t.Errorf("a client that says nothing hears %q", said)
	}
}

// Who writes http:// for https://, or the other way round, is told so.
func TestWrongSchemeIsTold(t *testing.T) {
	a := newAuthority(t)
	a.issue(2)
	plain, secure := openTLSFront(t, a, usualLimits)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	for endpoint, want := range map[string]string{
		"http://" + secure: "write https://",
		strings.Replace(plain.URL, "http://", "https://", 1): "write http://",
	} {
		var stderr bytes.Buffer
		err := run(t.Context(), []string{"--endpoint-url", endpoint, "secret", "list"}, strings.NewReader(""), io.Discard, &stderr)
		if exitCode(err) != exitFailure || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: code %d, %s", endpoint, exitCode(err), stderr.String())
		}
	}
}

func TestCertificatesThatCannotServe(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	log := slog.New(slog.DiscardHandler)
	if _, err := a.files.over(nil, log); err == nil {
		t.Error("files that do not exist were taken")
	}
	a.issue(2)
	if _, err := (tlsFlags{cert: a.files.key, key: a.files.key}).over(nil, log); err == nil {
		t.Error("a key was taken for a certificate")
	}
	if err := (tlsFlags{cert: a.files.cert}).check(); err == nil {
		t.Error("a certificate without a key was taken")
	}
}
