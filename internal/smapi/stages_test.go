package smapi_test

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
	pending  = "AWSPENDING"
)

// stages is a model of one secret's versions, by the rules of "Versions and staging
// labels".
type stages struct {
	values     map[string]string // :: version → value; empty: reserved by a rotation
	labels     map[string]string // :: label → version
	configured bool
}

// attach stores a new version, or fills a reserved one.
func (s *stages) attach(version, value string, labels []string) {
	s.values[version] = value
	for _, l := range labels {
		s.move(l, version)
	}
	if slices.Contains(labels, current) && !slices.Contains(labels, pending) {
		delete(s.labels, pending)
	}
}

func (s *stages) move(label, to string) {
	from := s.labels[label]
	s.labels[label] = to
	if label == current && from != to {
		s.labels[previous] = from
	}
}

// mayMove tells whether UpdateSecretVersionStage takes these versions.
func (s *stages) mayMove(label, from, to string) bool {
	value, there := s.values[to]
	switch {
	case from != s.labels[label], from == "" && to == "":
		return false
	case to == "":
		return label != current
	default:
		return there && (label != current || value != "")
	}
}

// shown is VersionIdsToStages, with short ids.
func (s *stages) shown() map[string][]string {
	shown := map[string][]string{}
	for _, label := range slices.Sorted(maps.Keys(s.labels)) {
		shown[s.labels[label]] = append(shown[s.labels[label]], label)
	}
	return shown
}

// stagesTest draws calls, makes them, and compares their effects with the model.
type stagesTest struct {
	house *house
	model *stages
	fresh int // the number of the last version
}

// Versions, values and labels are what the model says after any sequence of calls.
func TestAnyCallsOnVersions(t *testing.T) { anyCalls(t, callsOnVersions) }

func callsOnVersions(h *house) func(*rapid.T) {
	h.create("s", "one")
	return func(t *rapid.T) {
		s := &stagesTest{house: h, fresh: 1, model: &stages{values: map[string]string{"v1": "one"}, labels: map[string]string{current: "v1"}}}
		t.Repeat(map[string]func(*rapid.T){"": s.check, "put": s.put, "update": s.update, "move": s.move, "rotate": s.rotate, "cancel": s.cancel})
	}
}

// version draws one that is there, or the next.
func (s *stagesTest) version(t *rapid.T) string {
	n := rapid.IntRange(1, s.fresh+1).Draw(t, "version")
	s.fresh = max(s.fresh, n)
	return version(n)
}

// value draws one, and tells whether it may be the version's.
func (s *stagesTest) value(t *rapid.T, version string) (value string, fits, stored bool) {
	value = rapid.SampledFrom([]string{"one", "two"}).Draw(t, "value")
	stands := s.model.values[version]
	return value, stands == "" || stands == value, stands != ""
}

func (s *stagesTest) put(t *rapid.T) {
	version := s.version(t)
	value, fits, stored := s.value(t, version)
	labels := rapid.SampledFrom([][]string{nil, {current}, {pending}, {"x"}, {"x", "y"}, {current, pending}, {"y", current}}).Draw(t, "labels")
	_, err := s.house.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("s"), ClientRequestToken: aws.String(token(version)), SecretString: &value, VersionStages: labels})
	if wantEnd(t, fits, err); fits && !stored {
		if labels == nil {
			labels = []string{current}
		}
		s.model.attach(version, value, labels)
	}
}

func (s *stagesTest) update(t *rapid.T) {
	version := s.version(t)
	value, fits, stored := s.value(t, version)
	_, err := s.house.UpdateSecret(t.Context(), &sm.UpdateSecretInput{SecretId: aws.String("s"), ClientRequestToken: aws.String(token(version)), SecretString: &value})
	if wantEnd(t, fits, err); fits && !stored {
		s.model.attach(version, value, []string{current})
	}
}

func (s *stagesTest) move(t *rapid.T) {
	label := rapid.SampledFrom([]string{current, current, previous, pending, "x"}).Draw(t, "label")
	from, to := s.model.labels[label], ""
	if rapid.IntRange(0, 4).Draw(t, "wrong") == 0 {
		from = ""
	}
	if rapid.Bool().Draw(t, "to") {
		to = s.version(t)
	}
	if to != "" && to == s.model.labels[label] {
		return // what AWS answers is not recorded
	}
	ok := s.model.mayMove(label, from, to)
	if wantEnd(t, ok, s.house.move("s", label, from, to)); !ok {
		return
	}
	if s.model.move(label, to); to == "" {
		delete(s.model.labels, label)
	}
}

func (s *stagesTest) rotate(t *rapid.T) {
	s.fresh++
	version := "v" + strconv.Itoa(s.fresh)
	_, err := s.house.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String("s"), ClientRequestToken: aws.String(token(version)),
		RotationLambdaARN: aws.String(rotator), RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1000)}})
	holder := s.model.labels[pending]
	ok := holder == "" || holder == s.model.labels[current]
	if wantEnd(t, ok, err); ok {
		s.model.configured, s.model.values[version], s.model.labels[pending] = true, "", version
	}
}

func (s *stagesTest) cancel(t *rapid.T) {
	_, err := s.house.CancelRotateSecret(t.Context(), &sm.CancelRotateSecretInput{SecretId: aws.String("s")})
	wantEnd(t, s.model.configured, err)
}

func (s *stagesTest) check(t *rapid.T) {
	synctest.Wait()
	got := map[string][]string{}
	for id, labels := range s.house.describe("s").VersionIdsToStages {
		slices.Sort(labels)
		got[id] = labels
	}
	want := map[string][]string{}
	for v, labels := range s.model.shown() {
		want[token(v)] = labels
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("labels (-model +server):\n%s", diff)
	}
	for v, value := range s.model.values {
		out, err := s.house.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("s"), VersionId: aws.String(token(v))})
		if (err == nil) != (value != "") || err == nil && *out.SecretString != value {
			t.Fatalf("%s: the model has %q, the server answers %v", v, value, err)
		}
	}
}
