package rotation

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// TestRDSAuthorities: every certificate of the bundle is an authority of its own,
// none twice, and the first one ends in years.
func TestRDSAuthorities(t *testing.T) {
	renew := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC) // run scripts/rds-ca.sh by then
	seen := map[string]bool{}
	for rest := rdsCA; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !c.IsCA || c.NotAfter.Before(renew) || seen[string(c.Raw)] {
			t.Errorf("%s: authority %v, until %s, twice %v", c.Subject, c.IsCA, c.NotAfter, seen[string(c.Raw)])
		}
		if err := c.CheckSignatureFrom(c); err != nil {
			t.Errorf("%s: %v", c.Subject, err)
		}
		seen[string(c.Raw)] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d certificates", len(seen))
	}
}

// TestRootsOfRDS are trusted for names of RDS alone, and not beside an own
// authority.
func TestRootsOfRDS(t *testing.T) {
	rds := roots(t, Login{Host: "db.abc.eu-west-1.rds.amazonaws.com"})
	if rds == nil {
		t.Fatal("RDS's authorities are not trusted for RDS")
	}
	if !rds.Equal(roots(t, Login{Host: "db.example.com", TLSServerName: "db.abc.eu-west-1.RDS.amazonaws.com"})) {
		t.Error("the name to verify does not decide")
	}
	for _, host := range []string{"db.example.com", "rds.amazonaws.com.example.com", "xrds.amazonaws.com", "10.0.0.1"} {
		if roots(t, Login{Host: host}) != nil {
			t.Errorf("%s is not verified by the system's authorities", host)
		}
	}
	block, _ := pem.Decode(rdsCA)
	own := roots(t, Login{Host: "db.abc.eu-west-1.rds.amazonaws.com", TLSCA: string(pem.EncodeToMemory(block))})
	if own.Equal(rds) {
		t.Error("other authorities are trusted beside tlsCA")
	}
}

func roots(t *testing.T, l Login) *x509.CertPool {
	t.Helper()
	c, err := l.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.InsecureSkipVerify {
		t.Error("nothing is verified")
	}
	return c.RootCAs
}

func TestVerifiedName(t *testing.T) {
	for _, tc := range []struct{ host, name, want string }{
		{"db.example.com", "", "db.example.com"},
		{"db.example.com", "other.example.com", "other.example.com"},
		{"[2001:db8::1]", "", "2001:db8::1"},
		{"fe80::1%eth0", "", "fe80::1"},
	} {
		c, err := Login{Host: tc.host, TLSServerName: tc.name}.TLSConfig()
		if err != nil || c.ServerName != tc.want {
			t.Errorf("%s, %q: %v, %v", tc.host, tc.name, c, err)
		}
	}
}

func TestTLSConfigRefuses(t *testing.T) {
	for _, l := range []Login{
		{Host: "db.example.com", TLSCA: "no certificate"},
		{Host: "db.example.com", TLSCA: "-----BEGIN CERTIFICATE----- MIIB -----END CERTIFICATE-----"},
		{Host: "/run/mysqld/mysqld.sock", TLS: TLSVerify},
	} {
		if _, err := l.TLSConfig(); ClassOf(err) != ClassSecret {
			t.Errorf("%s: %v", l, err)
		}
	}
	for _, l := range []Login{{Host: "127.0.0.1"}, {Host: "db.example.com", TLS: TLSOff}, {Host: "/s"}} {
		if c, err := l.TLSConfig(); c != nil || err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
}

// TestTLSIsPartOfThePlace: who may write a pending value must not choose whom to
// trust.
func TestTLSIsPartOfThePlace(t *testing.T) {
	l := Login{Engine: "mysql", Host: "h", Username: "u", Password: "p"}
	for _, other := range []Login{{TLSCA: "x"}, {TLSServerName: "x"}, {TLS: TLSOff}} {
		other.Engine, other.Host, other.Username, other.Password = l.Engine, l.Host, l.Username, "q"
		if l.samePlace(other) {
			t.Errorf("%s passes for the same place", other)
		}
	}
}

func TestParseTLSKeys(t *testing.T) {
	l, err := ParseLogin(`{"tlsServerName":"db.example.com","tlsCA":"-----BEGIN\nCERTIFICATE"}`)
	if err != nil || l.TLSServerName != "db.example.com" || !strings.Contains(l.TLSCA, "\n") {
		t.Errorf("%v %v", l, err)
	}
	if _, err := ParseLogin(`{"tlsCA":["x"]}`); ClassOf(err) != ClassSecret {
		t.Errorf("a list: %v", err)
	}
}
