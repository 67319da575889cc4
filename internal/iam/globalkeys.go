package iam

import (
	"strconv"
	"strings"
	"time"
)

// globalKey is a condition key that every request has, whatever its operation.
type globalKey struct {
	name  string
	value func(q *question) string // "" if this request does not have it after all
}

// globalKeys are the global condition keys that keyturn knows.
//
// Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
var globalKeys = [...]globalKey{
	{"aws:currenttime", func(q *question) string { return isoTime(q.caller.Now) }},
	{"aws:epochtime", func(q *question) string { return epochTime(q.caller.Now) }},
	{"aws:principalaccount", func(q *question) string { return q.caller.Account }},
	{"aws:principalarn", func(q *question) string { return q.caller.roleOrSelf() }},
	{"aws:principalisawsservice", no},
	{"aws:principaltype", func(q *question) string { return q.caller.kind() }},
	{"aws:requestedregion", func(q *question) string { return q.caller.Region }},
	{"aws:resourceaccount", func(q *question) string { return q.owner() }},
	// What a proxy before this server speaks is not known here.
	{"aws:securetransport", func(q *question) string { return strconv.FormatBool(q.caller.Secure) }},
	{"aws:sourceip", func(q *question) string { return q.caller.SourceIP }},
	{"aws:tokenissuetime", func(q *question) string { return isoTime(q.caller.Issued) }},
	{"aws:useragent", func(q *question) string { return q.caller.UserAgent }},
	{"aws:userid", func(q *question) string { return q.caller.userID() }},
	{"aws:username", func(q *question) string { return q.caller.userName() }},
	{"aws:viaawsservice", no},
}

var globalKeyIndex = func() map[string]int {
	index := make(map[string]int, len(globalKeys))
	for i, k := range globalKeys {
		index[k.name] = i
	}
	return index
}()

func no(*question) string { return "false" }

func isoTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func epochTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.Unix(), 10)
}

// kind returns the first word of the sixth part of p's ARN, as AWS calls it.
func (p *Principal) kind() string {
	id := p.ARN[strings.LastIndexByte(p.ARN, ':')+1:]
	word, _, _ := strings.Cut(id, "/")
	switch word {
	case "user":
		return "User"
	case "root":
		return "Account"
	case "assumed-role":
		return "AssumedRole"
	case "federated-user":
		return "FederatedUser"
	}
	return ""
}

// userName is the last word of a user's ARN; others have none.
func (p *Principal) userName() string {
	if p.kind() != "User" {
		return ""
	}
	return p.ARN[strings.LastIndexByte(p.ARN, '/')+1:]
}

func (p *Principal) userID() string {
	if p.kind() == "Account" {
		return p.Account
	}
	return p.UserID
}

// roleOrSelf is p's ARN, or that of the role whose session p is.
func (p *Principal) roleOrSelf() string {
	session, isRole := strings.CutPrefix(p.ARN, "arn:aws:sts::"+p.Account+":assumed-role/")
	if !isRole {
		return p.ARN
	}
	name, _, _ := strings.Cut(session, "/")
	return "arn:aws:iam::" + p.Account + ":role/" + name
}
