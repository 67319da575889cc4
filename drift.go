package keyturn

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/rotation"
)

// DefaultDriftCheck is how often the server looks whether the password of
// AWSCURRENT still logs in, unless Config or a tag says otherwise.
const DefaultDriftCheck = 24 * time.Hour

// drift configures canary logins.
func (c Config) drift() scheduler.Drift {
	every := c.DriftCheck
	if every == 0 {
		every = DefaultDriftCheck
	}
	return scheduler.Drift{Every: max(every, 0), Proves: isOwn}
}

// noteProof keeps what a proveSecret has shown that somebody has invoked. The
// scheduler, which sends a RotationToken, keeps its own.
func (s *Server) noteProof(ctx context.Context, e rotation.Event, answer []byte) error {
	if e.Step != rotation.StepProve || e.RotationToken != "" {
		return nil
	}
	var p scheduler.Proof
	if err := json.Unmarshal(answer, &p); err != nil {
		return fmt.Errorf("reading a proof: %w", err)
	}
	return s.db.Write(ctx, func(tx *sqldb.Tx) error { return s.sched.Proved(ctx, tx, secret.ARN(e.SecretID), p) })
}
