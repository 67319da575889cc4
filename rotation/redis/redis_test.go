package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/rotation"
)

func TestClasses(t *testing.T) {
	for _, tc := range []struct {
		text string
		want rotation.Class
	}{
		{"WRONGPASS invalid username-password pair or user is disabled.", rotation.ClassAuth},
		{"NOAUTH Authentication required.", rotation.ClassAuth},
		{"NOPERM User app has no permissions to run the 'acl|setuser' command", rotation.ClassPrivilege},
		{"DENIED Redis is running in protected mode", rotation.ClassPrivilege},
		{"ERR AUTH <password> called without any password configured for the default user.", rotation.ClassPolicy},
		{"ERR wrong number of arguments for 'auth' command", rotation.ClassPolicy},
		{"LOADING Redis is loading the dataset in memory", rotation.ClassTCP},
		{"ERR max number of clients reached", rotation.ClassDatabase},
	} {
		class, _ := classify(context.Background(), fmt.Errorf("command: %w", &replyError{tc.text}), "")
		if class != tc.want {
			t.Errorf("%s: class %q, want %q", tc.text, class, tc.want)
		}
	}
}

func TestServerTextIsRedacted(t *testing.T) {
	_, err := classify(context.Background(), &replyError{"ERR unknown command `AUTH`, with args beginning with: `app`, `hunter2`"}, "hunter2")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

// TestHash compares with what Redis 7 stored for the password "abc".
func TestHash(t *testing.T) {
	if got := hash("abc"); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("hash %s", got)
	}
}

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		text string
		want any
	}{
		{"+OK\r\n", "OK"}, {":42\r\n", int64(42)}, {"$3\r\na\r\n\r\n", "a\r\n"}, {"$-1\r\n", nil}, {"*-1\r\n", nil}, {"*0\r\n", []any{}},
		{"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", []any{"a", []any{int64(1)}}},
		{"-NOPERM no\r\n", &replyError{"NOPERM no"}},
	} {
		got, err := read(bufio.NewReader(strings.NewReader(tc.text)), maxDepth)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: %v, %v", tc.text, got, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{
		"", "+OK", "\r\n", "OK\r\n", "$x\r\n", "$-2\r\n", "$99999999\r\n", "*99999\r\n", "$1\r\nab\r\n", "*1\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
		"\x15\x03\x03\x00\x02\x02\x28\n", strings.Repeat("+", 5000) + "\r\n",
	} {
		if got, err := read(bufio.NewReader(strings.NewReader(text)), maxDepth); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzRead: what is read is written and read again the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n*1\r\n:1\r\n"))
	f.Add([]byte("-ERR x\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, err := read(bufio.NewReader(strings.NewReader(string(data))), maxDepth)
		if err != nil {
			return
		}
		again, err := read(bufio.NewReader(strings.NewReader(spell(reply))), maxDepth)
		if err != nil || !reflect.DeepEqual(reply, again) {
			t.Fatalf("%q: %v became %v, %v", data, reply, again, err)
		}
	})
}

// spell writes a reply; simple strings as bulk strings, which are read alike.
func spell(reply any) string {
	switch r := reply.(type) {
	case string:
		return fmt.Sprintf("$%d\r\n%s\r\n", len(r), r)
	case int64:
		return fmt.Sprintf(":%d\r\n", r)
	case *replyError:
		return "-" + r.text + "\r\n"
	case []any:
		text := fmt.Sprintf("*%d\r\n", len(r))
		for _, member := range r {
			text += spell(member)
		}
		return text
	}
	return "$-1\r\n"
}

func TestEngineNames(t *testing.T) {
	_, err := Engine{}.Connect(t.Context(), rotation.Login{Engine: "memcached", Host: "127.0.0.1", Username: "u", Password: "p"})
	var e *rotation.Error
	if !errors.As(err, &e) || e.Class != rotation.ClassSecret {
		t.Errorf("error %v", err)
	}
}
