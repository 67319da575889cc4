package keyapi_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/keyturnapi"
)

// startWithout takes the lines of the key file that name a material away, as an older
// copy does, and returns what a server that starts with the rest logs.
func (w *world) startWithout(material string) (log string) {
	w.Helper()
	text, err := os.ReadFile(w.keyFile)
	if err != nil {
		w.Fatal(err)
	}
	rest := ""
	for line := range strings.Lines(string(text)) {
		if material == "" || !strings.Contains(line, material) {
			rest += line
		}
	}
	if err := os.WriteFile(w.keyFile, []byte(rest), 0o600); err != nil {
		w.Fatal(err)
	}
	return w.start()
}

// start is a new server's start, until it has nothing more to do.
func (w *world) start() (log string) {
	w.Helper()
	w.reopen()
	w.log.Reset()
	stop := w.run()
	synctest.Wait()
	stop()
	return w.log.String()
}

// withKey makes a key, stores n values under it, and returns its material.
func (w *world) withKey(alias string, n int) (material string) {
	w.Helper()
	out, err := w.as(operators).CreateKey(w.Context(), &keyturnapi.CreateKeyInput{AliasName: alias})
	if err != nil {
		w.Fatal(err)
	}
	for i := range n {
		s, err := w.keys.SealWith(w.Context(), "alias/"+alias, []byte("x"), alias)
		if err == nil {
			err = w.storeRow(alias, string(rune('a'+i)), s)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	return out.Key.KeyMaterials[0].KeyMaterialID
}

func TestMissingMaterialIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(3)
		if log := w.start(); log != "" {
			t.Errorf("a first start says %s", log)
		}
		used, unused := w.withKey("used", 2), w.withKey("unused", 0)
		if log := w.start(); log != "" {
			t.Errorf("a start with all keys says %s", log)
		}
		for range 2 { // as long as it lacks
			log := w.startWithout(used)
			for _, want := range []string{"level=WARN", used, "values=2"} {
				if !strings.Contains(log, want) {
					t.Errorf("without a key in use: %s, want %s in it", log, want)
				}
			}
			if strings.Contains(log, unused) {
				t.Errorf("it has a key that the log says it lacks: %s", log)
			}
		}
		if log := w.startWithout(unused); !strings.Contains(log, unused) {
			t.Errorf("without a key that nothing needs: %s", log)
		}
		if log := w.start(); strings.Contains(log, unused) || !strings.Contains(log, used) {
			t.Errorf("the start after that: %s", log)
		}
	})
}

// TestMissingMaterialOfAnOlderDatabase, which does not say what the key file had.
func TestMissingMaterialOfAnOlderDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		used := w.withKey("used", 2)
		err := w.db.Write(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `DELETE FROM key_materials`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if log := w.startWithout(used); !strings.Contains(log, used) || !strings.Contains(log, "values=2") {
				t.Errorf("its start says %s", log)
			}
		}
	})
}

// TestRetiredMaterialIsNotMissing: whoever retires material knows that it is gone.
func TestRetiredMaterialIsNotMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fill(3)
		old := w.rotate(keyturnapi.RotateKeyInput{})
		w.start()
		if err := w.retire(old); err != nil {
			t.Fatal(err)
		}
		if log := w.start(); log != "" {
			t.Errorf("the next start says %s", log)
		}
		if _, err := w.keys.Open(t.Context(), envelope.Sealed{KeyID: old}, ""); err == nil {
			t.Error("it is not retired")
		}
	})
}
