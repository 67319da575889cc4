package scheduler

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Login is what a login with one version's password has shown; it is the
// element of logins in a function's answer to proveSecret.
type Login struct {
	VersionID secret.VersionID `json:"versionId"`
	Stages    []string         `json:"stages"`
	Username  string           `json:"username"`
	Outcome   string           `json:"outcome"` // live, refused, unknown
	Class     string           `json:"class,omitempty"`
	Error     string           `json:"error,omitempty"`
	At        time.Time        `json:"at"`
	SameAs    secret.VersionID `json:"sameAs,omitempty"` // the version that has the same password
}

const (
	live    = "live"
	refused = "refused"
)

// Proof is what proveSecret has shown, or why it could not.
type Proof struct {
	Logins []Login `json:"logins,omitempty"`
	Class  string  `json:"class,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// The sources of a proof.
const (
	SourceCheck = "drift-check" // a canary login
	SourceHand  = "proveSecret" // somebody has asked
)

// The kinds of drift.
const (
	// DriftCurrentRefused: the database refuses AWSCURRENT. Somebody else has
	// changed the password.
	DriftCurrentRefused = "current_refused"
	// DriftPreviousLive: the password of AWSPREVIOUS is alive beside that of
	// AWSCURRENT, and nobody is going to end it.
	DriftPreviousLive = "previous_live"
	// DriftPendingLive: so is that of a rotation that has been given up.
	DriftPendingLive = "pending_live"
)

// driftTexts explain the kinds in an audit event.
var driftTexts = map[string]string{
	DriftCurrentRefused: "the database refuses the password of AWSCURRENT",
	DriftPreviousLive:   "the password of AWSPREVIOUS is still valid, and its end is not planned",
	DriftPendingLive:    "the password of AWSPENDING is valid, but no rotation is under way",
}

// labelled returns the login of a label.
func (p Proof) labelled(label string) (Login, bool) {
	i := slices.IndexFunc(p.Logins, func(l Login) bool { return slices.Contains(l.Stages, label) })
	if i < 0 {
		return Login{}, false
	}
	return p.Logins[i], true
}

// drift judges a proof. It is not known while nobody knows about AWSCURRENT. A
// login of another user is none of AWSCURRENT's account: two users take turns.
func (p Proof) drift(retiring bool) (kinds []string, known bool) {
	current, ok := p.labelled(secret.Current)
	switch {
	case !ok || current.Outcome != live && current.Outcome != refused:
		return nil, false
	case current.Outcome == refused:
		return []string{DriftCurrentRefused}, true
	}
	if p.beside(current, secret.Previous) && !retiring {
		kinds = append(kinds, DriftPreviousLive)
	}
	if p.beside(current, secret.Pending) {
		kinds = append(kinds, DriftPendingLive)
	}
	return kinds, true
}

// beside tells whether a label has another password of the same user, alive.
func (p Proof) beside(current Login, label string) bool {
	l, ok := p.labelled(label)
	return ok && l.Outcome == live && l.VersionID != current.VersionID && l.SameAs != current.VersionID && l.Username == current.Username
}

// Proved stores a proof that somebody has asked for. While a rotation is under
// way it says nothing about drift.
func (s *Scheduler) Proved(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, p Proof) error {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return err
	}
	_, err = s.proved(ctx, tx, r, p, SourceHand)
	return err
}

// proved stores a proof and its verdict, and records an event if that is
// another one than before. It returns how many checks in a row were refused.
func (s *Scheduler) proved(ctx context.Context, tx *sqldb.Tx, r *row, p Proof, source string) (int64, error) {
	c, err := loadCheck(ctx, tx, r.arn)
	if err != nil || c == nil {
		return 0, err
	}
	for i := range p.Logins {
		p.Logins[i].Error = clip(p.Logins[i].Error)
	}
	current, _ := p.labelled(secret.Current)
	c.proved, c.source, c.proof = &tx.Now, source, p
	if current.VersionID != "" && current.VersionID != c.version {
		c.version, c.refused = current.VersionID, 0
	}
	if kinds, known := p.drift(r.retiring() != nil); known && r.quiet() {
		s.judge(tx, r, c, kinds)
	}
	return c.refused, c.save(ctx, tx, r.arn)
}

// retiring is when an older password is to end, or its end is tried again; nil
// where there is none.
func (r *row) retiring() *time.Time {
	if r.kind == retirement {
		return &r.tryAt
	}
	return r.retireAt
}

// judge compares the verdict with the one before.
func (s *Scheduler) judge(tx *sqldb.Tx, r *row, c *check, kinds []string) {
	c.refused++
	if !slices.Contains(kinds, DriftCurrentRefused) {
		c.refused = 0
	}
	if slices.Equal(kinds, c.drift) {
		return
	}
	c.drift, c.since = kinds, &tx.Now
	if len(kinds) == 0 {
		c.since = nil
		s.note(tx, &row{arn: r.arn, token: c.version}, "RotationDriftEnded", audit.Event{})
		return
	}
	var texts []string
	for _, k := range kinds {
		texts = append(texts, driftTexts[k])
	}
	s.note(tx, &row{arn: r.arn, token: c.version}, "RotationDriftDetected",
		audit.Event{ErrorCode: kinds[0], ErrorText: strings.Join(texts, "; ")})
}

// Standing is what is known of a secret's passwords in its database.
type Standing struct {
	Proof    *Proof
	Proved   time.Time
	Source   string   // SourceCheck or SourceHand
	Drift    []string // kinds; of AWSCURRENT as it is now
	Since    *time.Time
	CheckAt  *time.Time // the next canary login
	RotateAt *time.Time // the moment of the next rotation, within its window
	// The older password of a DualPassword rotation: it is alive until then, and for as
	// long as the secret is scheduled for deletion.
	RetireAt      *time.Time
	RetireVersion secret.VersionID // of the rotation that replaced it

	Tested       *time.Time // when testSecret last succeeded for AWSCURRENT
	FailingSince *time.Time // nil unless the last step that ended has failed
}

// movedBack tells whether AWSCURRENT was moved from a rotation's version to one that is
// older. Its password is the older of two then, which no retireSecret ends.
func (s *Scheduler) movedBack(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, token secret.VersionID) (bool, error) {
	if token == "" {
		return false, nil
	}
	current, err := s.vault.Holder(ctx, tx, arn, secret.Current)
	if err != nil || current == token {
		return false, err
	}
	now, err := s.vault.ByID(ctx, tx, arn, current)
	if err != nil || now == nil {
		return false, err
	}
	was, err := s.vault.ByID(ctx, tx, arn, token)
	return was != nil && now.Created.Before(was.Created), err
}

// Standing returns what is known; nil where rotation was never configured.
func (s *Scheduler) Standing(ctx context.Context, tx *sqldb.Tx, arn secret.ARN) (*Standing, error) {
	r, err := load(ctx, tx, arn)
	if err != nil || r == nil {
		return nil, err
	}
	st := &Standing{RotateAt: r.nextRotation(), RetireAt: r.retiring(), RetireVersion: r.retireToken}
	if r.kind == retirement {
		st.RetireVersion = r.token
	}
	back, err := s.movedBack(ctx, tx, arn, st.RetireVersion)
	if err != nil {
		return nil, err
	}
	if back {
		st.RetireAt = nil
	}
	current, err := s.vault.Holder(ctx, tx, arn, secret.Current)
	if err != nil {
		return nil, err
	}
	if err := st.addRuns(ctx, tx, arn, current); err != nil {
		return nil, err
	}
	c, err := loadCheck(ctx, tx, arn)
	if err != nil || c == nil {
		return st, err
	}
	if s.drift.Every > 0 && s.checkable(r) {
		st.CheckAt = c.at
	}
	if c.proved == nil {
		return st, nil
	}
	st.Proof, st.Proved, st.Source = &c.proof, *c.proved, c.source
	if current == c.version {
		st.Drift, st.Since = c.drift, c.since
	}
	return st, nil
}

// addRuns tells what stands in the records, however many there are since.
func (st *Standing) addRuns(ctx context.Context, tx *sqldb.Tx, arn secret.ARN, current secret.VersionID) (err error) {
	if st.Tested, err = tested(ctx, tx, arn, current); err != nil {
		return err
	}
	st.FailingSince, err = failingSince(ctx, tx, arn)
	return err
}
