package rotation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// The tags of a secret that a rotation function reads. A tag that is absent
// or empty says nothing.
const (
	// TagStrategy names the strategy. The key rotationStrategy of the secret's
	// value goes before it.
	TagStrategy = "keyturn:rotation-strategy"
	// TagGrace is how long an old password stays valid; see ParseGrace.
	TagGrace = "keyturn:rotation-grace"
	// TagPasswordLength is how many characters a new password has; see
	// ParsePasswordLength.
	TagPasswordLength = "keyturn:password-length"
	// TagPasswordExclude holds characters that a new password must not have, beside
	// SafeExclusions.
	TagPasswordExclude = "keyturn:password-exclude"
)

// Strategies are the values of the key rotationStrategy and of TagStrategy.
func Strategies() []string {
	return []string{StrategyAuto, StrategySingleUser, StrategyDualPassword, StrategyAlternatingUsers}
}

// CheckStrategy refuses what is none of Strategies.
func CheckStrategy(name string) error {
	if slices.Contains(Strategies(), name) {
		return nil
	}
	return fmt.Errorf("a strategy is one of %s", strings.Join(Strategies(), ", "))
}

const maxGrace = 365 * 24 * time.Hour

// ParseGrace reads a duration such as 90m, 6h, 2d or 1d12h, from one second to
// 365 days.
func ParseGrace(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, errGrace
	}
	grace := time.Duration(n) * 24 * time.Hour
	if rest != "" {
		part, err := time.ParseDuration(rest)
		if err != nil || part < 0 || part > maxGrace {
			return 0, errGrace
		}
		grace += part
	}
	if grace < time.Second || grace > maxGrace {
		return 0, errGrace
	}
	return grace, nil
}

var errGrace = fmt.Errorf("a grace period is a duration such as 90m, 6h or 2d, from 1s to 365d")

// settings are what a secret's tags say.
type settings struct {
	strategy string        // StrategyAuto if no tag says otherwise
	grace    time.Duration // 0 if no tag says
	password passwordRules
}

// readSettings refuses a tag that it does not understand: guessing a strategy
// could lock applications out.
func readSettings(tags []types.Tag) (settings, error) {
	s := settings{strategy: StrategyAuto}
	for _, tag := range tags {
		if err := s.read(aws.ToString(tag.Key), aws.ToString(tag.Value)); err != nil {
			return settings{}, Errorf(ClassSecret, "the tag %s of the secret: %w", aws.ToString(tag.Key), err)
		}
	}
	return s, nil
}

func (s *settings) read(key, value string) (err error) {
	if value == "" {
		return nil
	}
	switch key {
	case TagStrategy:
		s.strategy = value
		return CheckStrategy(value)
	case TagGrace:
		s.grace, err = ParseGrace(value)
	case TagPasswordLength:
		s.password.length, err = ParsePasswordLength(value)
	case TagPasswordExclude:
		s.password.exclude = value
		return CheckPasswordExclude(value)
	}
	return err
}

// configured returns the function as a secret's tags want it, for one step.
func (f *Function) configured(s settings) *Function {
	own := *f
	own.settings = s
	if s.grace != 0 {
		own.Grace = s.grace
	}
	return &own
}
