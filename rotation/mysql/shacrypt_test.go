package mysql

import "testing"

// The first is of `openssl passwd -5 -salt saltstring`.
func TestCrypt(t *testing.T) {
	if got, want := crypt("Hello world!", "saltstring", 5000), "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"; got != want {
		t.Errorf("the digest is %s, want %s", got, want)
	}
	const salt = "12345678901234567890"
	for stored, password := range map[string]string{
		"$A$001$" + salt + crypt("a", salt, 1000):           "a",
		"$A$00A$" + salt + crypt("b", salt, 10000):          "b",
		"$5$" + salt + "$" + crypt("First_1aA", salt, 5000): "First_1aA",
		"*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29":         "test",
	} {
		if is, known := storedFor(stored, password); !is || !known {
			t.Errorf("%s is stored for %s: %v, %v", stored, password, is, known)
		}
		if is, known := storedFor(stored, password+"x"); is || !known {
			t.Errorf("%s is stored for another password: %v, %v", stored, is, known)
		}
	}
}

func FuzzStoredFor(f *testing.F) {
	f.Add("$A$005$12345678901234567890abc", "x")
	f.Add("$5$$", "")
	f.Fuzz(func(t *testing.T, stored, password string) {
		_, digest, rounds, ok := parseStored(stored)
		if ok && (len(digest) != digestLength || rounds < 1 || rounds > 0xfff*roundsInAUnit) {
			t.Errorf("a digest of %d characters, %d rounds", len(digest), rounds)
		}
		if rounds > usualRounds {
			return // the rest is the same for each number of rounds, of which these take long
		}
		if is, known := storedFor(stored, password); is && !known {
			t.Error("of an unknown form")
		}
	})
}
