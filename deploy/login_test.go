package deploy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestLoginKeepsOrderAndStrangers(t *testing.T) {
	const text = `{"x":{"b":1, "a":2},"username":"admin","password":"p<&\"é","port":"3306","n":1.50}`
	l, err := parseLogin(" " + text + "\n")
	if err != nil || l.encode() != text {
		t.Fatalf("got %s, %v", l.encode(), err)
	}
	if l.username() != "admin" || l.password() != `p<&"é` || l.port() != 3306 || l.host() != "" {
		t.Error("read wrongly")
	}
	got := l.with("host", quote("h")).with("port", json.RawMessage("1")).withMissing("engine", quote("mysql")).encode()
	want := `{"x":{"b":1, "a":2},"username":"admin","password":"p<&\"é","engine":"mysql","host":"h","port":1,"n":1.50}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLoginOrderOfDocument(t *testing.T) {
	d := &deployment{cfg: config{cluster: "phat", engine: engine{secret: "mysql"}, database: "db"}}
	d.report.Host, d.report.Port = "h", 3306
	d.login = login{}.withText("username", "admin").withText("password", "p").withText("engine", "mysql").withText("dbClusterIdentifier", "phat")
	want := `{"username":"admin","password":"p","engine":"mysql","host":"h","port":3306,"dbname":"db","dbClusterIdentifier":"phat"}`
	if got := d.completed().encode(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseLoginRefuses(t *testing.T) {
	for _, text := range []string{"", "SECRET", `"SECRET"`, `["SECRET"]`, `{"a":"SECRET"`, `{"a":"SECRET"}x`, `{"a":}`, `{"a":1}{}`} {
		if l, err := parseLogin(text); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v, %v", text, l, err)
		}
	}
}

func TestPlaintextPrintsRedacted(t *testing.T) {
	l := login{}.withText("password", "SECRET")
	p := Password("SECRET")
	encoded, err := json.Marshal(struct{ P Password }{p})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(l, p), fmt.Sprintf("%v %+v %#v %s %q", l, l, l, l, l), fmt.Sprintf("%v %+v %#v %s %q %x", p, p, p, p, p, p),
		fmt.Sprintf("%+v %#v", Options{Password: p}, config{Password: p}), string(encoded),
	} {
		if strings.Contains(text, "SECRET") || strings.Contains(text, "534543524554") {
			t.Errorf("printed the password: %s", text)
		}
	}
}
