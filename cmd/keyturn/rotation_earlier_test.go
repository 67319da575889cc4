package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
	"github.com/keyturn/keyturn/rotation"
)

// TestEarlierRotationComesFirst: a rotation that is stuck is completed, and the secret is
// rotated once more; one that fails again ends the command with its reason.
func TestEarlierRotationComesFirst(t *testing.T) {
	var broken, completed, accepted atomic.Int64
	accepted.Store(1)
	server := keyturntest.NewServer(t, func(c *keyturn.Config) {
		c.Functions = map[string]keyturn.Function{"shaky": func(ctx context.Context, cfg aws.Config, event json.RawMessage) (json.RawMessage, error) {
			if strings.Contains(string(event), rotation.StepSet) && broken.Load() != 0 {
				return nil, errors.New("the database is away")
			}
			if strings.Contains(string(event), rotation.StepFinish) {
				completed.Add(1)
			}
			return nil, pickyStep(ctx, secretsmanager.NewFromConfig(cfg), event, &accepted)
		}}
	})
	arn := rotatedBy(t, server, "shaky")
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", server.CredentialsFile())
	rotate := func(names ...string) (string, int) {
		var stderr strings.Builder
		err := run(t.Context(), append([]string{"rotation", "run"}, names...), strings.NewReader(""), &stderr, &stderr)
		return stderr.String(), exitCode(err)
	}
	broken.Store(1)
	for _, why := range []string{"not begun: the rotation failed at setSecret", "not begun: rotating the secret: an earlier rotation, which comes first: the rotation failed at setSecret"} {
		if text, code := rotate("shaky"); code != exitRotationUnknown || !strings.Contains(text, why) {
			t.Fatalf("code %d: %s", code, text)
		}
	}
	broken.Store(0)
	if text, code := rotate("shaky", arn); code != exitOK || completed.Load() != 2 {
		t.Errorf("code %d, %d rotations completed, not the earlier one and one: %s", code, completed.Load(), text)
	}
}
