package scheduler

import (
	"github.com/keyturn/keyturn/internal/audit"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// The events of rotations, as CloudTrail names them; see "Log AWS Secrets Manager
// events with AWS CloudTrail" in the AWS guide. Those of retirements are ours: they tell
// since when an old password is refused. An event tells what is on disk: it is recorded
// when its transaction is.
var eventNames = map[string]struct{ started, succeeded, failed, abandoned string }{
	rotating:   {"RotationStarted", "RotationSucceeded", "RotationFailed", "RotationAbandoned"},
	trial:      {"TestRotationStarted", "TestRotationSucceeded", "TestRotationFailed", "TestRotationFailed"},
	retirement: {succeeded: "RetirementSucceeded", failed: "RetirementFailed"},
}

func (s *Scheduler) noteStarted(tx *sqldb.Tx, r *row) {
	s.note(tx, r, eventNames[r.kind].started, audit.Event{})
}

func (s *Scheduler) noteSucceeded(tx *sqldb.Tx, r *row) {
	s.count(tx, r, success)
	s.note(tx, r, eventNames[r.kind].succeeded, audit.Event{})
}

// noteFailed tells of one attempt; another follows a rotation that failed.
func (s *Scheduler) noteFailed(tx *sqldb.Tx, r *row, err error) {
	s.count(tx, r, failure)
	s.note(tx, r, eventNames[r.kind].failed, audit.Event{ErrorCode: class(err), ErrorText: r.step + ": " + shown(err)})
}

func (s *Scheduler) noteAbandoned(tx *sqldb.Tx, r *row) {
	s.count(tx, r, abandoned)
	s.note(tx, r, eventNames[r.kind].abandoned, audit.Event{ErrorCode: "abandoned"})
}

// note records an event of what is under way when the transaction is on disk.
// e holds why something failed.
func (s *Scheduler) note(tx *sqldb.Tx, r *row, name string, e audit.Event) {
	if s.audit == nil || name == "" {
		return
	}
	at := r.arn.Place()
	e.Time, e.Type, e.Source, e.Name = tx.Now, audit.ServiceEvent, "secretsmanager.amazonaws.com", name
	e.Account, e.Region, e.Resource, e.VersionID = at.Account, at.Region, string(r.arn), string(r.token)
	tx.BeforeReturn(func() {
		if err := s.audit.Record(&e); err != nil {
			s.log.Error("recording an event", "event", name, "secret", e.Resource, "error", err)
		}
	})
}
