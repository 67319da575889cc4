package secret_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// house is a vault over a real database, with two keys and a clock that the test
// moves.
type house struct {
	*secret.Vault
	t     testing.TB
	db    *sqldb.DB
	keys  *envelope.Keyring
	other string // a KmsKeyId beside the default key
	now   time.Time

	envelope.Key        // the default key
	onWrap       func() // hears of each use of it
	broken       error  // what it answers instead
}

var here = secret.Place{Account: "000000000000", Region: "us-east-1"}

func newHouse(t testing.TB, path string) *house {
	t.Helper()
	standard, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	other, err := envelope.NewLocal()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, Key: standard, other: other.ID(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.keys = envelope.NewKeyring(h, other)
	h.open(path)
	t.Cleanup(func() {
		h.isConsistent()
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// isConsistent makes sure that what each secret's row tells of its versions is so.
func (h *house) isConsistent() {
	h.t.Helper()
	h.read(func(tx *sqldb.Tx) error {
		var wrong, lost, unordered int
		err := tx.QueryRow(context.Background(), `SELECT
			(SELECT COUNT(*) FROM secrets s WHERE s.versions <> (SELECT COUNT(*) FROM secret_versions v WHERE v.secret = s.number)
				OR s.current <> COALESCE((SELECT l.value ->> 1 FROM json_each(s.labels) l WHERE l.value ->> 0 = 'AWSCURRENT'), '')
				OR EXISTS (SELECT 1 FROM json_each(s.labels) l WHERE l.value ->> 1 NOT IN (SELECT id FROM secret_versions v WHERE v.secret = s.number))),
			(SELECT COUNT(*) FROM secret_versions WHERE secret NOT IN (SELECT number FROM secrets)),
			(SELECT COUNT(*) FROM secrets WHERE changed_order <> changed_at AND number NOT IN (SELECT secret FROM secret_changes))`).Scan(&wrong, &lost, &unordered)
		if wrong > 0 || lost > 0 || unordered > 0 {
			h.t.Errorf("%d secrets whose rows do not tell what there is, %d versions of none, %d changes not noted", wrong, lost, unordered)
		}
		return err
	})
}

func (h *house) open(path string) {
	h.t.Helper()
	var err error
	if h.db, err = sqldb.Open(context.Background(), path, func() time.Time { return h.now }, secret.Schema); err != nil {
		h.t.Fatal(err)
	}
	h.Vault = secret.NewVault(h.db, h.keys)
}

func (h *house) write(do func(*sqldb.Tx) error) {
	h.t.Helper()
	if err := h.db.Write(context.Background(), do); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) read(do func(*sqldb.Tx) error) {
	h.t.Helper()
	if err := h.db.Read(context.Background(), do); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) create(name string) secret.ARN {
	h.t.Helper()
	arn := secret.NewARN(here, name)
	h.write(func(tx *sqldb.Tx) error {
		_, err := h.Create(context.Background(), tx, secret.New{ARN: arn, Name: name}, nil)
		return err
	})
	return arn
}

func (h *house) seal(arn secret.ARN, id secret.VersionID, text string) *secret.Version {
	h.t.Helper()
	var key string
	h.read(func(tx *sqldb.Tx) error {
		s, err := h.Find(context.Background(), tx, arn)
		if err == nil {
			key = s.KMSKeyID
		}
		return err
	})
	v, err := h.Seal(context.Background(), secret.Slot{ARN: arn, ID: id, KMSKeyID: key}, secret.Value{Text: &text})
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *house) put(arn secret.ARN, id secret.VersionID, labels ...string) error {
	v := h.seal(arn, id, "value of "+string(id))
	return h.db.Write(context.Background(), func(tx *sqldb.Tx) error {
		_, _, err := h.Put(context.Background(), tx, v, labels)
		return err
	})
}

// holders returns which version has which label.
func (h *house) holders(arn secret.ARN) map[string]secret.VersionID {
	h.t.Helper()
	all := map[string]secret.VersionID{}
	h.read(func(tx *sqldb.Tx) error {
		s, err := h.Find(context.Background(), tx, arn)
		if err != nil {
			return err
		}
		stages, err := s.Stages()
		for id, labels := range stages {
			for _, l := range labels {
				if other, twice := all[l]; twice {
					h.t.Errorf("%s is on %s and on %s", l, id, other)
				}
				all[l] = id
			}
		}
		return err
	})
	return all
}

func id(n int) secret.VersionID { return secret.VersionID("v" + strconv.Itoa(n)) }

// The rules of staging labels, as a model: a label is on one version; the version
// that AWSCURRENT left has AWSPREVIOUS; a new AWSCURRENT ends a rotation.
func TestLabelsKeepTheirRules(t *testing.T) {
	h := newHouse(t, ":memory:")
	secrets := 0
	rapid.Check(t, func(t *rapid.T) {
		secrets++
		arn := h.create("s" + strconv.Itoa(secrets))
		m := model{}
		for versions := 0; versions < rapid.IntRange(1, 15).Draw(t, "puts"); {
			if versions > 0 && rapid.Bool().Draw(t, "move") {
				m.moveSome(t, h, arn, versions)
			} else {
				versions++
				m.putSome(t, h, arn, versions)
			}
			if diff := cmp.Diff(map[string]secret.VersionID(m), h.holders(arn)); diff != "" {
				t.Fatalf("(-rules +vault):\n%s", diff)
			}
			if m[secret.Current] == "" {
				t.Fatal("AWSCURRENT is lost")
			}
		}
	})
}

// model is which version has which label.
type model map[string]secret.VersionID

var labels = []string{secret.Current, secret.Pending, secret.Previous, "mine", "yours"}

func (m model) promote(id secret.VersionID) {
	from := m[secret.Current]
	if from == id {
		return
	}
	if m[secret.Previous] == id {
		delete(m, secret.Previous)
	}
	m[secret.Current] = id
	if from != "" {
		m[secret.Previous] = from
	}
}

func (m model) putSome(t *rapid.T, h *house, arn secret.ARN, n int) {
	named := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{secret.Current, secret.Pending, "mine", "yours"}), 0, 3, rapid.ID[string]).Draw(t, "labels")
	if err := h.put(arn, id(n), named...); err != nil {
		t.Fatal(err)
	}
	if len(named) == 0 || len(m) == 0 && !slices.Contains(named, secret.Current) {
		named = append(named, secret.Current)
	}
	if slices.Contains(named, secret.Current) && !slices.Contains(named, secret.Pending) {
		delete(m, secret.Pending)
	}
	for _, l := range named {
		if l == secret.Current {
			m.promote(id(n))
		} else {
			m[l] = id(n)
		}
	}
}

func (m model) moveSome(t *rapid.T, h *house, arn secret.ARN, versions int) {
	label := rapid.SampledFrom(labels).Draw(t, "label")
	from, to := m[label], id(rapid.IntRange(0, versions).Draw(t, "to"))
	if to == id(0) {
		to = "" // remove the label
	}
	err := h.db.Write(context.Background(), func(tx *sqldb.Tx) error {
		return h.MoveLabel(context.Background(), tx, arn, label, from, to)
	})
	if refused := to == "" && (from == "" || label == secret.Current); refused != (err != nil) {
		t.Fatalf("moving %s from %q to %q: %v", label, from, to, err)
	}
	switch {
	case err != nil:
	case to == "":
		delete(m, label)
	case label == secret.Current:
		m.promote(to)
	default:
		m[label] = to
	}
}

const elsewhere = "eu-west-1"

func (h *house) replicate(arn secret.ARN) secret.Copying {
	h.t.Helper()
	h.write(func(tx *sqldb.Tx) error {
		return h.AddReplicas(context.Background(), tx, arn, []secret.ReplicaRegion{{Region: elsewhere}})
	})
	return secret.Copying{Primary: arn, Region: elsewhere}
}

func nothingGivesWay(*sqldb.Tx, secret.ARN) error { return errors.New("a secret was to give way") }

// After any sequence of changes, and copies in between, the replica is like its
// primary.
func TestReplicaIsLikeItsPrimary(t *testing.T) {
	h := newHouse(t, ":memory:")
	secrets := 0
	rapid.Check(t, func(t *rapid.T) {
		secrets++
		arn := h.create("s" + strconv.Itoa(secrets))
		c := h.replicate(arn)
		n := 0
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			n++
			if err := h.changeSome(t, arn, n); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "copy") {
				if err := h.Copy(context.Background(), c, nothingGivesWay); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := h.Copy(context.Background(), c, nothingGivesWay); err != nil {
			t.Fatal(err)
		}
		h.wantAlike(t, arn)
	})
}

func (h *house) changeSome(t *rapid.T, arn secret.ARN, n int) error {
	ctx, text := context.Background(), strconv.Itoa(n)
	pending := func() error {
		return h.db.Write(ctx, func(tx *sqldb.Tx) error { return h.Reserve(ctx, tx, arn, id(n)) })
	}
	return map[string]func() error{
		"put":     func() error { return h.put(arn, id(n)) },
		"pending": pending,
		"filled":  func() error { return errors.Join(pending(), h.put(arn, id(n), secret.Pending)) },
		"again": func() error { // the same version id comes back with another value
			v := h.seal(arn, "again", text)
			return h.db.Write(ctx, func(tx *sqldb.Tx) error {
				return errors.Join(h.Remove(ctx, tx, arn, v.ID), h.StagePending(ctx, tx, v))
			})
		},
		"tag": func() error {
			return h.db.Write(ctx, func(tx *sqldb.Tx) error { return h.Tag(ctx, tx, arn, []secret.Tag{{Key: text, Value: text}}) })
		},
		"untag": func() error {
			return h.db.Write(ctx, func(tx *sqldb.Tx) error { return h.Untag(ctx, tx, arn, []string{"1", "2"}) })
		},
		"describe": func() error {
			return h.db.Write(ctx, func(tx *sqldb.Tx) error {
				return h.Update(ctx, tx, arn, secret.Change{Description: &text, Type: &text})
			})
		},
		"key":         func() error { return h.rekey(arn, h.other) },
		"default key": func() error { return h.rekey(arn, "") },
		"external": func() error {
			return h.db.Write(ctx, func(tx *sqldb.Tx) error { return h.SetExternal(ctx, tx, arn, secret.External{RoleARN: text}) })
		},
	}[rapid.SampledFrom([]string{"put", "pending", "filled", "again", "tag", "untag", "describe", "key", "default key", "external"}).Draw(t, "change")]()
}

func (h *house) rekey(arn secret.ARN, key string) error {
	r, err := h.Rekey(context.Background(), arn, key)
	if err != nil {
		return err
	}
	return h.db.Write(context.Background(), func(tx *sqldb.Tx) error { return h.Update(context.Background(), tx, arn, secret.Change{Key: r}) })
}

// wantAlike compares what is replicated, values included.
func (h *house) wantAlike(t interface{ Fatalf(string, ...any) }, arn secret.ARN) {
	replica := arn.In(elsewhere)
	if diff := cmp.Diff(h.contents(arn), h.contents(replica), cmpopts.IgnoreUnexported(secret.Secret{})); diff != "" {
		t.Fatalf("(-primary +replica):\n%s", diff)
	}
	h.read(func(tx *sqldb.Tx) error {
		all, err := h.Replicas(context.Background(), tx, arn)
		if err == nil && all[0].Status != secret.InSync {
			t.Fatalf("status %s", all[0].Status)
		}
		return err
	})
}

type contents struct {
	Secret   secret.Secret
	Stages   map[secret.VersionID][]string
	Versions map[secret.VersionID]string
}

func (h *house) contents(arn secret.ARN) (c contents) {
	h.t.Helper()
	ctx := context.Background()
	opened := map[secret.VersionID]*secret.Version{}
	h.read(func(tx *sqldb.Tx) error {
		s, err := h.Find(ctx, tx, arn)
		if err != nil {
			return err
		}
		c.Secret = *s
		c.Secret.ARN, c.Secret.KMSKeyID, c.Secret.Created = "", "", time.Time{} // the replica's own
		if c.Stages, err = s.Stages(); err != nil {
			return err
		}
		ids, err := h.VersionIDs(ctx, tx, arn)
		for _, id := range ids {
			if opened[id], err = h.ByID(ctx, tx, arn, id); err != nil {
				return err
			}
		}
		return err
	})
	c.Versions = map[secret.VersionID]string{}
	for id, version := range opened {
		c.Versions[id] = version.Created.String()
		if version.Reserved() {
			continue
		}
		value, err := h.Open(ctx, version)
		if err != nil {
			h.t.Fatal(err)
		}
		c.Versions[id] += " " + *value.Text
	}
	return c
}

// What a primary was told before the server died reaches the replica after it.
func TestChangesSurviveACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyturn.db")
	h := newHouse(t, path)
	arn := h.create("s")
	c := h.replicate(arn)
	if err := h.put(arn, id(1)); err != nil {
		t.Fatal(err)
	}
	if err := h.Copy(t.Context(), c, nothingGivesWay); err != nil {
		t.Fatal(err)
	}
	if err := h.put(arn, id(2)); err != nil {
		t.Fatal(err)
	}
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	h.open(path)
	var waiting []secret.Copying
	h.read(func(tx *sqldb.Tx) (err error) {
		waiting, err = h.Waiting(t.Context(), tx, secret.Copying{}, 10)
		return err
	})
	if diff := cmp.Diff([]secret.Copying{c}, waiting); diff != "" {
		t.Fatal(diff)
	}
	if err := h.Copy(t.Context(), c, nothingGivesWay); err != nil {
		t.Fatal(err)
	}
	h.wantAlike(t, arn)
}

// A value that comes while others are sealed for the replica is not left out.
func TestChangeDuringACopy(t *testing.T) {
	h := newHouse(t, ":memory:")
	arn := h.create("s")
	if err := h.put(arn, id(1)); err != nil {
		t.Fatal(err)
	}
	c := h.replicate(arn)
	h.onWrap = func() {
		h.onWrap = nil
		if err := h.put(arn, id(2)); err != nil {
			t.Error(err)
		}
	}
	if err := h.Copy(t.Context(), c, nothingGivesWay); err != nil {
		t.Fatal(err)
	}
	if h.onWrap != nil {
		t.Error("nothing was sealed")
	}
	h.wantAlike(t, arn)
}

// A key that fails for a while delays a replica, but never ends it.
func TestTroubledKeyDelaysReplication(t *testing.T) {
	h := newHouse(t, ":memory:")
	arn := h.create("s")
	c := h.replicate(arn)
	if err := h.Copy(t.Context(), c, nothingGivesWay); err != nil {
		t.Fatal(err)
	}
	if err := h.put(arn, id(1)); err != nil {
		t.Fatal(err)
	}
	h.broken = envelope.ErrAccessDenied
	if err := h.Copy(t.Context(), c, nothingGivesWay); err == nil {
		t.Error("copied without a key")
	}
	h.broken = nil
	if err := h.Copy(t.Context(), c, nothingGivesWay); err != nil {
		t.Fatal(err)
	}
	h.wantAlike(t, arn)
}

// Wrap implements envelope.Key: the default key of a house is one that tests may
// hear of and break.
func (h *house) Wrap(ctx context.Context, dataKey, boundTo []byte) ([]byte, error) {
	if h.onWrap != nil {
		h.onWrap()
	}
	if h.broken != nil {
		return nil, h.broken
	}
	return h.Key.Wrap(ctx, dataKey, boundTo)
}

func TestCleanUp(t *testing.T) {
	h := newHouse(t, ":memory:")
	arn := h.create("s")
	for n := range 100 {
		if err := h.put(arn, id(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.put(arn, id(100)); !errors.Is(err, secret.ErrLimitExceeded) {
		t.Fatalf("version 101 of a day: %v", err)
	}
	h.now = h.now.Add(time.Hour)
	h.write(func(tx *sqldb.Tx) error { return h.Reserve(t.Context(), tx, arn, "rotation") })
	h.wantCleanUp(arn)
	h.now = h.now.Add(23*time.Hour - time.Millisecond)
	h.wantCleanUp("")
	h.now = h.now.Add(time.Millisecond)
	h.wantCleanUp(arn, "v0")
	h.wantCleanUp("") // 100 are left
	if err := h.put(arn, id(101)); err != nil {
		t.Fatal(err)
	}
	h.wantCleanUp(arn, "v1")
	const deleted = "InvalidRequestException: You can't perform this operation on secret version v0 because it was deleted."
	if err := h.put(arn, "v0"); err == nil || err.Error() != deleted {
		t.Errorf("put: %v", err)
	}
	err := h.db.Read(t.Context(), func(tx *sqldb.Tx) error {
		_, err := h.Select(t.Context(), tx, arn, secret.Selector{ID: "v0"})
		return err
	})
	if err == nil || err.Error() != deleted {
		t.Errorf("read: %v", err)
	}
}

// wantCleanUp does the clean-up that is due and compares its secret, empty for
// none, and what it removed.
func (h *house) wantCleanUp(arn secret.ARN, want ...secret.VersionID) {
	h.t.Helper()
	var due secret.ARN
	var removed []secret.VersionID
	h.write(func(tx *sqldb.Tx) error {
		next, at, err := h.NextCleanup(h.t.Context(), tx)
		if due = next; err != nil || next == "" || at.After(tx.Now) {
			due = ""
			return err
		}
		removed, err = h.CleanUp(h.t.Context(), tx, next)
		return err
	})
	if due != arn {
		h.t.Errorf("due is %q, want %q", due, arn)
	}
	if diff := cmp.Diff(want, removed); diff != "" {
		h.t.Error(diff)
	}
}

// Removed versions are remembered, but not for ever.
func TestRemovedVersionsAreBounded(t *testing.T) {
	h := newHouse(t, ":memory:")
	arn := h.create("s")
	for n := range 205 {
		h.now = h.now.Add(25 * time.Hour)
		if err := h.put(arn, id(n)); err != nil {
			t.Fatal(err)
		}
		h.write(func(tx *sqldb.Tx) error { _, err := h.CleanUp(t.Context(), tx, arn); return err })
	}
	for n, want := range map[int]string{4: "can't find", 5: "was deleted", 104: "was deleted"} {
		err := h.db.Read(t.Context(), func(tx *sqldb.Tx) error {
			_, err := h.Select(t.Context(), tx, arn, secret.Selector{ID: id(n)})
			return err
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("version %d: %v, want %q", n, err, want)
		}
	}
}

// A new key takes the labelled versions with it; the others stay under theirs.
func TestRekey(t *testing.T) {
	h := newHouse(t, ":memory:")
	arn := h.create("s")
	for n := range 4 {
		if err := h.put(arn, id(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.put(arn, "custom", "mine"); err != nil {
		t.Fatal(err)
	}
	h.write(func(tx *sqldb.Tx) error { return h.Reserve(t.Context(), tx, arn, "pending") })
	if err := h.put(arn, "pending", secret.Pending); err != nil {
		t.Fatal(err)
	}
	before := h.contents(arn)
	if err := h.rekey(arn, h.other); err != nil {
		t.Fatal(err)
	}
	after := h.contents(arn)
	if diff := cmp.Diff(before.Versions, after.Versions); diff != "" {
		t.Errorf("values changed:\n%s", diff)
	}
	got := map[secret.VersionID]string{}
	h.read(func(tx *sqldb.Tx) error {
		for _, id := range slices.Sorted(maps.Keys(after.Versions)) {
			v, err := h.ByID(t.Context(), tx, arn, id)
			if err != nil {
				return err
			}
			got[id] = v.KMSKeyID
		}
		return nil
	})
	want := map[secret.VersionID]string{"v0": "", "v1": "", "v2": h.other, "v3": h.other, "pending": h.other, "custom": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What came after Rekey had sealed is not left behind.
func TestRekeyNoticesNewValues(t *testing.T) {
	h := newHouse(t, ":memory:")
	arn := h.create("s")
	if err := h.put(arn, id(1)); err != nil {
		t.Fatal(err)
	}
	r, err := h.Rekey(t.Context(), arn, h.other)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.put(arn, id(2)); err != nil {
		t.Fatal(err)
	}
	err = h.db.Write(t.Context(), func(tx *sqldb.Tx) error { return h.Update(t.Context(), tx, arn, secret.Change{Key: r}) })
	if !errors.Is(err, secret.ErrStale) {
		t.Errorf("got %v", err)
	}
	if _, err := h.Rekey(t.Context(), arn, "alias/nowhere"); !errors.Is(err, secret.ErrInvalidParameter) {
		t.Errorf("an unknown key: %v", err)
	}
}
