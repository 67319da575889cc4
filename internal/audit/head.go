package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// The head file tells the newest line of the log, signed with the log's key. A
// signature on one line vouches for all lines before it, since each carries the
// hash of the one before. The file is one line of JSON that is written over in
// place; blanks keep its length the same.
const (
	headFile = "head"
	headSize = 512
)

// PublicKey verifies the signatures of a log.
type PublicKey ed25519.PublicKey

// String is the key in base64, as --public-key takes it.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k) }

// ParsePublicKey reads what String returns.
func ParsePublicKey(text string) (PublicKey, error) {
	k, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(k) != ed25519.PublicKeySize {
		return nil, errors.New("a public key is 32 bytes in base64")
	}
	return PublicKey(k), nil
}

func publicKey(k ed25519.PrivateKey) PublicKey { return PublicKey(k.Public().(ed25519.PublicKey)) }

// Head is a signed statement: at a time, the line with this sequence number was
// the newest one.
type Head struct {
	Sequence  uint64    `json:"sequence"`
	Hash      string    `json:"hash"` // SHA-256 of the line, in hex
	Time      time.Time `json:"time"`
	PublicKey string    `json:"publicKey"`
	Signature string    `json:"signature"`
}

// text is what is signed.
func (h *Head) text() []byte {
	return []byte("keyturn audit head 1\n" + strconv.FormatUint(h.Sequence, 10) + "\n" + h.Hash + "\n" + h.Time.UTC().Format(timeFormat) + "\n")
}

func sign(key ed25519.PrivateKey, at link, now time.Time) *Head {
	h := &Head{Sequence: at.sequence, Hash: hex.EncodeToString(at.hash[:]), Time: now.UTC().Truncate(time.Millisecond),
		PublicKey: publicKey(key).String()}
	h.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, h.text()))
	return h
}

// verify reports whether the head was signed with the key of that public key.
func (h *Head) verify(key PublicKey) bool {
	signature, err := base64.StdEncoding.Strict().DecodeString(h.Signature)
	return err == nil && ed25519.Verify(ed25519.PublicKey(key), h.text(), signature)
}

func (h *Head) link() link {
	l := link{sequence: h.Sequence}
	_, _ = hex.Decode(l.hash[:], []byte(h.Hash)) // parseHead has checked it
	return l
}

// write puts the head into its file.
func (h *Head) write(f *os.File) error {
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("writing the audit log's head: %w", err)
	}
	record := make([]byte, headSize)
	for i := copy(record, text); i < headSize-1; i++ {
		record[i] = ' '
	}
	record[headSize-1] = '\n'
	if _, err := f.WriteAt(record, 0); err != nil {
		return fmt.Errorf("writing the audit log's head: %w", err)
	}
	return nil
}

// readHead returns the head of the log in a folder, or nil if it has none. Its
// signature is not checked.
func readHead(dir string) (*Head, error) {
	text, err := os.ReadFile(filepath.Join(dir, headFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // the caller asks whether there is one
	}
	if err != nil {
		return nil, fmt.Errorf("reading the audit log's head: %w", err)
	}
	if len(text) == 0 { // a crash came between making and writing it
		return nil, nil //nolint:nilnil // as above
	}
	return parseHead(text)
}

// errDamagedHead says that the head file holds something else.
var errDamagedHead = errors.New("the audit log's head file is damaged")

func parseHead(text []byte) (*Head, error) {
	h := new(Head)
	if err := json.Unmarshal(text, h); err != nil {
		return nil, errDamagedHead
	}
	if hash, err := hex.DecodeString(h.Hash); err != nil || len(hash) != sha256.Size {
		return nil, errDamagedHead
	}
	return h, nil
}
