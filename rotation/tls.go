package rotation

import (
	"crypto/tls"
	"crypto/x509"
	_ "embed" // the certificates of RDS
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// rdsCA are the root certificates of Amazon RDS and of Amazon Trust Services,
// which sign for RDS Proxy. They are made by scripts/rds-ca.sh.
//
//go:embed rds-ca.pem
var rdsCA []byte

// rdsDomain is what the names of RDS's endpoints end in. Those of China have
// authorities of their own, which are not in the bundle.
const rdsDomain = ".rds.amazonaws.com"

// TLSConfig returns how to verify the server of the login, nil if the
// connection is not encrypted (see Encrypted). Chain and name are verified in
// full, and nothing weaker is ever tried.
//
// Trusted are: the authorities of the key tlsCA alone if the secret has it,
// else those of the system, and those of RDS besides for names of RDS. RDS's
// authorities are private ones of AWS, so they may vouch for nobody else's
// name. The failure is of ClassSecret.
func (l Login) TLSConfig() (*tls.Config, error) {
	if !l.Encrypted() {
		return nil, nil
	}
	if l.UnixSocket() {
		return nil, Errorf(ClassSecret, `a Unix socket has no TLS: take "ssl" out of the secret`)
	}
	roots, err := l.roots()
	if err != nil {
		return nil, err
	}
	return &tls.Config{ServerName: l.verifiedName(), RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// verifiedName is the name that the server's certificate must have.
func (l Login) verifiedName() string {
	if l.TLSServerName != "" {
		return l.TLSServerName
	}
	name, _, _ := strings.Cut(strings.Trim(l.Host, "[]"), "%") // fe80::1%eth0
	return name
}

// roots returns the trusted authorities; nil are those of the system.
func (l Login) roots() (*x509.CertPool, error) {
	switch {
	case l.TLSCA != "":
		own := x509.NewCertPool()
		if !own.AppendCertsFromPEM([]byte(l.TLSCA)) {
			return nil, Errorf(ClassSecret, "the key tlsCA of the secret holds no certificate; it is the PEM text of one or more, with its line breaks")
		}
		return own, nil
	case strings.HasSuffix(strings.ToLower(l.verifiedName()), rdsDomain):
		return rdsRoots(), nil
	}
	return nil, nil
}

// rdsRoots are the authorities of the system and of RDS. A system without any,
// such as an empty container, has those of RDS all the same.
var rdsRoots = sync.OnceValue(func() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(rdsCA)
	return pool
})

// ErrNoTLS says that a server does not speak TLS. Engines return it in the
// words of their own protocol's refusal.
var ErrNoTLS = errors.New("the server does not offer TLS")

// TLSHint says what to do about a failure of ClassTLS, in one sentence for
// people: it names what does not fit, and the key of the secret that mends it.
func TLSHint(err error, l Login) string {
	var (
		host    x509.HostnameError
		root    x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		alert   tls.AlertError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &host):
		return hostnameHint(host.Certificate, l)
	case errors.As(err, &root):
		return authorityHint(root.Cert, l)
	case errors.As(err, &invalid):
		return invalidHint(invalid)
	case errors.Is(err, ErrNoTLS), errors.As(err, &record):
		return `switch TLS on in the server; where the network is safe without it, "ssl": false in the secret says so`
	case errors.As(err, &alert):
		return "the server ended the handshake; if it asks for a client's certificate, let it do without: keyturn has none"
	}
	return `see the server's TLS settings; if it cannot do TLS and the network is safe without it, "ssl": false in the secret says so`
}

func hostnameHint(cert *x509.Certificate, l Login) string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "the server's certificate has no subject alternative name, so no name can be verified: issue one that has the server's name"
	}
	return fmt.Sprintf("the server's certificate is for %s, not for %s: correct the host, or, if one of these is the server, name it in the key tlsServerName of the secret",
		strings.Join(names, ", "), l.verifiedName())
}

func authorityHint(cert *x509.Certificate, l Login) string {
	issuer := "an authority"
	if cert != nil && cert.Issuer.String() != "" {
		issuer = cert.Issuer.String()
	}
	if l.TLSCA != "" {
		return fmt.Sprintf("the server's certificate is signed by %s, which is not in the key tlsCA of the secret; with tlsCA no other authority is trusted", issuer)
	}
	return fmt.Sprintf("the server's certificate is signed by %s, which is not trusted: put that authority's certificate, as PEM text, into the key tlsCA of the secret", issuer)
}

func invalidHint(e x509.CertificateInvalidError) string {
	if e.Reason == x509.Expired && e.Cert != nil {
		return fmt.Sprintf("the certificate of %s is valid from %s to %s: renew it on the server, and check the clocks",
			e.Cert.Subject, e.Cert.NotBefore.UTC().Format(time.RFC3339), e.Cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return "renew the server's certificate"
}
