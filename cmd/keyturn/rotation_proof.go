package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/keyturnapi"
	"github.com/keyturn/keyturn/rotation"
)

// testProof is a testSecret that succeeded: the version logged in.
type testProof struct {
	VersionID string `json:"VersionId"`
	At        time.Time
}

// prove asks the secret's function to log in with each staged version, now.
func (a *app) prove(ctx context.Context, cfg aws.Config, described *secretsmanager.DescribeSecretOutput) (*keyturnapi.RotationPasswords, error) {
	function, err := functionOf(described, "")
	if err != nil {
		return nil, err
	}
	result, err := a.invokeStep(ctx, cfg, function, rotation.Event{Step: rotation.StepProve, SecretID: aws.ToString(described.ARN)})
	if err != nil {
		return nil, fmt.Errorf("trying the logins: %w", err)
	}
	if len(result.Logins) == 0 {
		return nil, notOurs(function, rotation.StepProve)
	}
	now := a.now().UTC()
	p := &keyturnapi.RotationPasswords{ProvedAt: &now, ProvedBy: rotation.StepProve}
	for _, l := range result.Logins {
		p.Logins = append(p.Logins, keyturnapi.RotationLogin{VersionID: l.VersionID, Stages: l.Stages, Username: l.Username,
			Outcome: l.Outcome, ErrorClass: string(l.Class), Error: l.Error, At: l.At})
	}
	return p, nil
}

// withProof puts a proof of now in the place of the server's last one.
func withProof(stored, now *keyturnapi.RotationPasswords) *keyturnapi.RotationPasswords {
	if now == nil {
		return stored
	}
	if stored == nil {
		return now
	}
	both := *stored
	both.ProvedAt, both.ProvedBy, both.Logins, both.ErrorClass, both.Error = now.ProvedAt, now.ProvedBy, now.Logins, "", ""
	return &both
}

// currentLogin returns the login of AWSCURRENT, at the time of the proof.
func currentLogin(p *keyturnapi.RotationPasswords) *keyturnapi.RotationLogin {
	if p == nil {
		return nil
	}
	i := slices.IndexFunc(p.Logins, func(l keyturnapi.RotationLogin) bool { return slices.Contains(l.Stages, stageCurrent) })
	if i < 0 {
		return nil
	}
	return &p.Logins[i]
}

// proven tells whether the proof is of the version that is AWSCURRENT now.
func (s rotationStatus) proven() bool {
	l := currentLogin(s.Passwords)
	return l != nil && l.VersionID == s.CurrentVersionID
}

// lastTest is the newest testSecret that succeeded for AWSCURRENT, or nil.
func lastTest(at *time.Time, current string) *testProof {
	if at == nil {
		return nil
	}
	return &testProof{VersionID: current, At: *at}
}

// labelled returns the version that has a label, "" if none has.
func labelled(versions map[string][]string, label string) string {
	for id, stages := range versions {
		if slices.Contains(stages, label) {
			return id
		}
	}
	return ""
}

// loginFacts are lines about what is live, each with when and how it was tried.
func (a *app) loginFacts(f *facts, s rotationStatus) {
	p := s.Passwords
	proven := s.proven()
	if !proven && s.LastTest != nil {
		f.add(stageCurrent, fmt.Sprintf("%s at %s (testSecret), version %s", s.testWords(), a.when(&s.LastTest.At), s.LastTest.VersionID))
	}
	if p == nil || (!proven && len(p.Logins) > 0) {
		return
	}
	for _, l := range p.Logins {
		f.add(shownStages(l.Stages), a.loginText(l, p.ProvedBy))
	}
	if p.Error != "" {
		f.add("Last check", fmt.Sprintf("nothing could be tried at %s (%s): %s", a.when(p.ProvedAt), p.ErrorClass, p.Error))
	}
}

// testWords say what a testSecret that succeeded shows: one of keyturn's own functions has
// logged in, here or in the place of RDS; what another's has done is not known.
func (s rotationStatus) testWords() string {
	name := s.RotationLambdaARN[strings.LastIndex(s.RotationLambdaARN, ":")+1:]
	if name == "" || strings.HasPrefix(name, "keyturn-rotate-") {
		return "live: logged in"
	}
	return "the function's test succeeded"
}

func (a *app) loginText(l keyturnapi.RotationLogin, how string) string {
	tried := fmt.Sprintf("at %s (%s), version %s", a.when(&l.At), how, l.VersionID)
	switch l.Outcome {
	case rotation.LoginLive:
		return "live: " + l.Username + " logged in " + tried
	case rotation.LoginRefused:
		return "not live: " + l.Username + " was refused " + tried
	}
	return fmt.Sprintf("not known: %s; %s: %s", tried, l.ErrorClass, l.Error)
}

// driftTexts say what each kind of drift means and what to do.
var driftTexts = map[string]string{
	"current_refused": `the database refuses AWSCURRENT: somebody has changed the password. "keyturn rotation heal" sets it back, a rotation sets a new one`,
	"previous_live":   `the password of AWSPREVIOUS is still valid, and its end is not planned. The next rotation ends it`,
	"pending_live":    `the password of AWSPENDING is valid, but no rotation is under way. The next rotation takes it up`,
}

// driftFacts are lines about what is not as it should be.
func (a *app) driftFacts(f *facts, s rotationStatus) {
	p := s.Passwords
	if p == nil {
		return
	}
	f.add("Old password", a.oldPasswordText(s))
	for _, kind := range p.Drift {
		f.add("Drift", fmt.Sprintf("%s, since %s: %s", kind, a.when(p.DriftSince), driftTexts[kind]))
	}
	f.add("Next check", a.when(p.NextCheck))
}

// oldPasswordText says how long the older of two passwords is valid, and what ends it.
func (a *app) oldPasswordText(s rotationStatus) string {
	p := s.Passwords
	switch until, how := s.oldPasswordEnd(); {
	case p.OldPasswordUntil == nil:
		return ""
	case s.oldPasswordRefused():
		return "not valid any more: the database refuses that of AWSPREVIOUS"
	case until == nil:
		return "valid beside that of version " + p.OldPasswordReplacedBy + "; " + how
	default:
		return fmt.Sprintf("valid until %s beside that of version %s; then %s", a.when(until), p.OldPasswordReplacedBy, how)
	}
}

// oldPasswordCell is until when, in short.
func (a *app) oldPasswordCell(s rotationStatus) string {
	p := s.Passwords
	if p == nil || p.OldPasswordUntil == nil || s.oldPasswordRefused() {
		return ""
	}
	if until, _ := s.oldPasswordEnd(); until != nil {
		return a.moment(until)
	}
	return "not planned"
}

// oldPasswordRefused tells whether somebody else has ended the older password.
func (s rotationStatus) oldPasswordRefused() bool {
	p := s.Passwords
	return s.proven() && slices.ContainsFunc(p.Logins, func(l keyturnapi.RotationLogin) bool { return isRefusedOld(l, p.OldPasswordReplacedBy) })
}

// oldPasswordEnd tells when the older of two passwords ends, nil where that is not planned,
// and how: a rotation that comes before its end ends it, too.
func (s rotationStatus) oldPasswordEnd() (until *time.Time, how string) {
	until = s.Passwords.OldPasswordUntil
	switch next := s.NextRotationAt; {
	case s.DeletedDate != nil:
		return nil, "nothing ends it while the secret is scheduled for deletion"
	case s.changing():
		return nil, "the rotation that is under way ends it, and nothing else does before"
	case s.RotationEnabled && s.PendingVersionID != "":
		return nil, "nothing ends it while version " + s.PendingVersionID + " has AWSPENDING: keyturn rotation repair"
	case until != nil && next != nil && next.Before(*until):
		return next, "the next rotation ends it"
	}
	return until, "retireSecret ends it"
}

// changing tells whether a rotation is under way that has not set its password yet.
func (s rotationStatus) changing() bool {
	return s.PendingVersionID != "" && s.Next != nil && (s.Next.Step == rotation.StepCreate || s.Next.Step == rotation.StepSet)
}

// isRefusedOld tells whether a login is that of the old password, and is refused. After a
// change by hand AWSPREVIOUS is the version that had replaced it.
func isRefusedOld(l keyturnapi.RotationLogin, replacedBy string) bool {
	return slices.Contains(l.Stages, stagePrevious) && l.VersionID != replacedBy && l.Outcome == rotation.LoginRefused
}

// adviceOn says what to do about the error of a step. Of the rules that the class policy
// stands for, those for passwords are the function's to fit.
func adviceOn(r keyturnapi.RotationRun) string {
	if strings.Contains(r.Error, rotation.ErrRejected.Error()) {
		return "Make the function's password rules fit the database's."
	}
	return advice[rotation.Class(r.ErrorClass)]
}

// advice is by the error's class.
var advice = map[rotation.Class]string{
	rotation.ClassDNS:       "Correct the key host of the secret, or the network's DNS.",
	rotation.ClassTCP:       "Start the database, or let the server in: host and port of the secret, firewall, security group.",
	rotation.ClassTLS:       "Trust the database's certificate, or correct the key host; a server without TLS needs \"ssl\": false.",
	rotation.ClassAuth:      "See which password is live: keyturn rotation status --prove. Then: keyturn rotation heal, or repair.",
	rotation.ClassPrivilege: "Give the account the privilege that the error names, then rotate again.",
	rotation.ClassPolicy:    "Change the account or the server as the error says, then rotate again.",
	rotation.ClassTimeout:   "See the database's load, and routes and firewalls on the way to it.",
	rotation.ClassAPI:       "See the function's permissions on the secret, and the server's log.",
	rotation.ClassSecret:    "Correct the secret's value or labels as the error says.",
	rotation.ClassDatabase:  "See the database's own log.",
	rotation.ClassFunction:  "Mend the function, whose error it is; keyturn serve --log-functions shows what it prints.",
}
