package rotationtest

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"net"
	"testing"
)

// RADIUS's numbers that PostgreSQL uses (RFC 2865).
const (
	accessAccept = 2
	accessReject = 3
	userPassword = 2

	radiusHeader = 20
	radiusSecret = "shared"
)

// radius answers PostgreSQL's questions about a password from elsewhere, and returns
// what a line of pg_hba.conf says of it.
func radius(t *testing.T, password string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		packet := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(radiusAnswer(packet[:n], password), from)
		}
	}()
	return fmt.Sprintf(`radius radiusservers="127.0.0.1" radiusports="%d" radiussecrets="%s"`, conn.LocalAddr().(*net.UDPAddr).Port, radiusSecret)
}

// radiusAnswer is section 3 of RFC 2865: code, identifier, length, and a digest of
// them, of the question's authenticator and of the secret.
func radiusAnswer(question []byte, password string) []byte {
	code := byte(accessReject)
	if bytes.Equal(hiddenPassword(question), hide(password, question[4:radiusHeader])) {
		code = accessAccept
	}
	head := []byte{code, question[1], 0, radiusHeader}
	digest := md5.Sum(bytes.Join([][]byte{head, question[4:radiusHeader], []byte(radiusSecret)}, nil))
	return append(head, digest[:]...)
}

// hiddenPassword is the attribute of a question.
func hiddenPassword(question []byte) []byte {
	for rest := question[radiusHeader:]; len(rest) > 2; rest = rest[rest[1]:] {
		if rest[0] == userPassword {
			return rest[2:rest[1]]
		}
	}
	return nil
}

// hide is section 5.2, for a password of at most 16 bytes.
func hide(password string, authenticator []byte) []byte {
	mask := md5.Sum(append([]byte(radiusSecret), authenticator...))
	for i := range password {
		mask[i] ^= password[i]
	}
	return mask[:]
}
