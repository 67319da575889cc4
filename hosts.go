package keyturn

import (
	"context"
	"strings"

	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/rotation"
)

// DefaultRotationsPerHost is how many rotations may be at work on one database
// server at a time if Config.RotationsPerHost is zero.
const DefaultRotationsPerHost = scheduler.DefaultPerHost

// DefaultRotationsPerSecond is how many rotations may begin by their schedule in a
// second if Config.RotationsPerSecond is zero.
const DefaultRotationsPerSecond = scheduler.DefaultPerSecond

// hosts tells the scheduler which database server a secret belongs to. What it
// reads is forgotten at once.
type hosts struct{ vault *secret.Vault }

// Host implements scheduler.Hosts: host and port of the current value.
func (h hosts) Host(ctx context.Context, arn secret.ARN) string {
	_, value, err := h.vault.Read(ctx, arn, secret.Selector{})
	if err != nil || value.Text == nil {
		return ""
	}
	login, err := rotation.ParseLogin(*value.Text)
	if err != nil || login.Host == "" {
		return ""
	}
	return strings.ToLower(login.Address(0))
}
