package envelope

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// ErrReadOnly says that keys given by something other than a file can't be
// changed here.
var ErrReadOnly = errors.New("this key file can't be changed from here")

// ErrRefused says that a change to the keys makes no sense as it stands; the
// text tells why.
var ErrRefused = errors.New("the keys were not changed")

// Keyring is the keys of a server. It seals with the key that a KmsKeyId names
// and opens with any. It is safe for concurrent use.
type Keyring struct {
	remote *awsKMS
	now    func() time.Time
	save   func(text string) error // makes a changed key file durable; nil: the keys live in memory

	changing sync.Mutex // held while a change is saved and put in force
	state    atomic.Pointer[ring]
}

// ring is the keys at one moment; it never changes.
type ring struct {
	remote    *awsKMS
	keys      []*key          // the first one is the default
	names     map[string]*key // :: key id, alias/NAME → key
	owner     map[string]*key // :: material id → the key it belongs to
	materials map[string]Key  // :: material id → material, retired ones of this process included
}

// NewKeyring returns a keyring in memory: each material is a key of its own, and
// first is the default.
func NewKeyring(first Key, more ...Key) *Keyring {
	var all []*key
	for _, m := range append([]Key{first}, more...) {
		all = append(all, &key{id: m.ID(), materials: []material{{Key: m}}})
	}
	return newKeyring(all, nil, time.Now)
}

func newKeyring(all []*key, remote *awsKMS, now func() time.Time) *Keyring {
	k := &Keyring{remote: remote, now: now}
	k.state.Store(newRing(all, remote, nil))
	return k
}

// newRing remembers the materials of old, so that a value read a moment ago
// still opens when its material is retired.
func newRing(all []*key, remote *awsKMS, old *ring) *ring {
	r := &ring{remote: remote, keys: all, names: map[string]*key{}, owner: map[string]*key{}, materials: map[string]Key{}}
	if old != nil {
		for id, m := range old.materials {
			r.materials[id] = m
		}
	}
	for _, k := range all {
		r.names[k.id] = k
		if k.alias != "" {
			r.names["alias/"+k.alias] = k
		}
		for _, m := range k.materials {
			r.owner[m.ID()] = k
			r.materials[m.ID()] = m.Key
		}
	}
	return r
}

// defaultAlias is AWS's name of the key that seals where no other is named.
const defaultAlias = "alias/aws/secretsmanager"

// Check returns an *InvalidKeyError if keyID, a KmsKeyId, names no key. It may be
// empty or alias/aws/secretsmanager, which is the default key; a key id;
// alias/NAME; the ARN of either in any region and account, since local keys
// belong to the whole server; or the ARN of a key in AWS KMS, which is not asked
// here.
func (k *Keyring) Check(keyID string) error {
	_, err := k.state.Load().resolve(keyID)
	return err
}

// resolve returns the material that wraps for a KmsKeyId.
func (r *ring) resolve(keyID string) (Key, error) {
	if keyID == "" || keyID == defaultAlias {
		return r.keys[0].newest(), nil
	}
	if k := r.names[keyID]; k != nil {
		return k.newest(), nil
	}
	if strings.HasPrefix(keyID, "arn:") {
		return r.resolveARN(keyID)
	}
	if strings.HasPrefix(keyID, "alias/") {
		return nil, &InvalidKeyError{Reason: fmt.Sprintf("Alias %s is not found.", keyID)}
	}
	return nil, &InvalidKeyError{Reason: fmt.Sprintf("Invalid keyId %s", keyID)}
}

func (r *ring) resolveARN(arn string) (Key, error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[2] != "kms" {
		return nil, &InvalidKeyError{Reason: "Invalid arn " + arn}
	}
	name := strings.TrimPrefix(parts[5], "key/")
	k := r.names[name]
	if registered := r.owner[arn]; registered != nil {
		k = registered
	}
	switch {
	case name == defaultAlias:
		return r.keys[0].newest(), nil
	case k != nil:
		return k.newest(), nil
	case strings.HasPrefix(name, "alias/"):
		return nil, &InvalidKeyError{Reason: fmt.Sprintf("Alias %s is not found.", arn)}
	}
	return r.direct(arn)
}

// direct is a key in AWS KMS that is named by its ARN, without being in the key
// file.
func (r *ring) direct(arn string) (Key, error) {
	remote, err := r.remote.key(arn)
	if err != nil {
		return nil, &InvalidKeyError{Reason: err.Error()}
	}
	return remote, nil
}

// find returns the material of a sealed value.
func (r *ring) find(materialID string) (Key, error) {
	if m := r.materials[materialID]; m != nil {
		return m, nil
	}
	if remote, err := r.remote.key(materialID); err == nil {
		return remote, nil
	}
	return nil, ErrUnknownKey
}

// KeyInfo tells about a key.
type KeyInfo struct {
	ID        string
	Alias     string // without "alias/"; empty: none
	Default   bool
	Materials []MaterialInfo // oldest first; the last one wraps
}

// MaterialInfo tells about a key material.
type MaterialInfo struct {
	ID      string    // in AWS KMS: the ARN
	AWSKMS  bool      // it is a key in AWS KMS
	Created time.Time // UTC; zero: not known
}

// Keys returns the keys of the key file, the default key first.
func (k *Keyring) Keys() []KeyInfo {
	var all []KeyInfo
	for i, key := range k.state.Load().keys {
		all = append(all, key.info(i == 0))
	}
	return all
}

func (k *key) info(isDefault bool) KeyInfo {
	info := KeyInfo{ID: k.id, Alias: k.alias, Default: isDefault}
	for _, m := range k.materials {
		_, local := m.Key.(*Local)
		info.Materials = append(info.Materials, MaterialInfo{ID: m.ID(), AWSKMS: !local, Created: m.created})
	}
	return info
}

// Create makes a key with an alias, of new local material or of the AWS KMS key
// whose ARN awsKMS is and which is tried. It is in the key file, on disk, before
// Create returns. It returns ErrReadOnly, ErrRefused, or what SealWith does.
func (k *Keyring) Create(ctx context.Context, alias, awsKMS string) (KeyInfo, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	now := k.state.Load()
	if alias == "" {
		return KeyInfo{}, fmt.Errorf("%w: a key needs an alias", ErrRefused)
	}
	if err := checkAlias(alias); err != nil {
		return KeyInfo{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if now.names["alias/"+alias] != nil {
		return KeyInfo{}, fmt.Errorf("%w: there is a key with the alias %s", ErrRefused, alias)
	}
	m, err := k.newMaterial(ctx, awsKMS)
	if err != nil {
		return KeyInfo{}, err
	}
	created := &key{id: uuid.NewString(), alias: alias, materials: []material{m}}
	return created.info(false), k.change(append(now.keys[:len(now.keys):len(now.keys)], created))
}

func (k *Keyring) newMaterial(ctx context.Context, awsKMS string) (material, error) {
	m := material{created: k.now().UTC().Truncate(time.Second)}
	if awsKMS == "" {
		local, err := NewLocal()
		m.Key = local
		return m, err
	}
	if owner := k.state.Load().owner[awsKMS]; owner != nil {
		return m, fmt.Errorf("%w: %s belongs to the key %s already", ErrRefused, awsKMS, owner.id)
	}
	remote, err := k.remote.key(awsKMS)
	if err != nil {
		return m, &InvalidKeyError{Reason: err.Error()}
	}
	m.Key = remote
	return m, try(ctx, remote)
}

// try uses a key once, so that one which does not serve is not put in force.
func try(ctx context.Context, k Key) error {
	data, place := make([]byte, 32), []byte("trial")
	wrapped, err := k.Wrap(ctx, data, place)
	if err != nil {
		return fmt.Errorf("trying the key: %w", err)
	}
	if _, err := k.Unwrap(ctx, wrapped, place); err != nil {
		return fmt.Errorf("trying the key: %w", err)
	}
	return nil
}

// Rotate gives the key that name means (its id, its alias with or without
// "alias/", or "" for the default key) new material: local, or the AWS KMS key
// whose ARN awsKMS is and which is tried. The material is in the key file, on disk, before anything
// is sealed with it. It returns ErrReadOnly, ErrRefused, or what SealWith does.
func (k *Keyring) Rotate(ctx context.Context, name, awsKMS string) (KeyInfo, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	now := k.state.Load()
	old, err := now.byName(name)
	if err != nil {
		return KeyInfo{}, err
	}
	m, err := k.newMaterial(ctx, awsKMS)
	if err != nil {
		return KeyInfo{}, err
	}
	next := old.with(m)
	return next.info(old == now.keys[0]), k.change(replace(now.keys, old, next))
}

// Key returns the key that name means, as Rotate takes it, or an
// *InvalidKeyError.
func (k *Keyring) Key(name string) (KeyInfo, error) {
	now := k.state.Load()
	found, err := now.byName(name)
	if err != nil {
		return KeyInfo{}, err
	}
	return found.info(found == now.keys[0]), nil
}

func (r *ring) byName(name string) (*key, error) {
	for _, tried := range []string{name, "alias/" + name} {
		if k := r.names[tried]; k != nil {
			return k, nil
		}
	}
	if name == "" || name == defaultAlias {
		return r.keys[0], nil
	}
	return nil, &InvalidKeyError{Reason: fmt.Sprintf("Invalid keyId %s", name)}
}

// Old returns nil if id is a material that something newer has replaced;
// otherwise ErrRefused or an *InvalidKeyError.
func (k *Keyring) Old(id string) error {
	_, err := k.state.Load().old(id)
	return err
}

func (r *ring) old(id string) (*key, error) {
	owner := r.owner[id]
	if owner == nil {
		return nil, &InvalidKeyError{Reason: fmt.Sprintf("Invalid key material %s", id)}
	}
	if owner.newest().ID() == id {
		return nil, fmt.Errorf("%w: %s is the newest material of its key; rotate the key first", ErrRefused, id)
	}
	return owner, nil
}

// Retire takes old material out of the key file. The caller knows that nothing
// is sealed with it any more. It returns ErrReadOnly, or what Old returns.
func (k *Keyring) Retire(id string) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	now := k.state.Load()
	owner, err := now.old(id)
	if err != nil {
		return err
	}
	return k.change(replace(now.keys, owner, owner.without(id)))
}

func replace(all []*key, old, next *key) []*key {
	changed := make([]*key, len(all))
	for i, k := range all {
		if changed[i] = k; k == old {
			changed[i] = next
		}
	}
	return changed
}

// change writes the key file, and only then puts the keys in force: a crash in
// between leaves a key file that opens everything.
func (k *Keyring) change(all []*key) error {
	if k.save != nil {
		if err := k.save(printKeys(all)); err != nil {
			return err
		}
	}
	k.state.Store(newRing(all, k.remote, k.state.Load()))
	return nil
}
