package rotation

import "testing"

// TestDecide is the table of docs/state-machine.md, a line for each row.
func TestDecide(t *testing.T) {
	for _, tc := range []struct {
		row  string
		when facts
		want action
	}{
		{"0", facts{created: true}, tryCurrent},
		{"0, with an administrator", facts{created: true, admin: true}, tryCurrent},
		{"0, with an administrator, who keeps none", facts{created: true, admin: true, keepsOne: true}, change},
		{"0, by itself, keeping none", facts{created: true, keepsOne: true}, tryCurrent},
		{"0, let in", facts{created: true, current: live}, change},
		{"0, refused", facts{created: true, current: denied}, tryPending},
		{"0, without a current one", facts{created: true, current: absent}, tryPending},
		{"0, told wrongly", facts{created: true, current: denied, pending: live}, settle},
		{"0, nothing works", facts{created: true, current: denied, pending: denied, previous: denied}, giveUp},
		{"1", facts{}, tryPending},
		{"2", facts{pending: live}, settle},
		{"2, with an administrator", facts{pending: live, admin: true}, settle},
		{"3", facts{pending: denied}, tryCurrent},
		{"3, with an administrator", facts{pending: denied, admin: true}, tryCurrent},
		{"4", facts{pending: denied, current: live}, change},
		{"4, with an administrator", facts{pending: denied, current: live, admin: true}, change},
		{"5", facts{pending: denied, current: denied, admin: true}, overwrite},
		{"5, without a current one", facts{pending: denied, current: absent, previous: absent, admin: true}, overwrite},
		{"6", facts{pending: denied, current: denied}, tryPrevious},
		{"7", facts{pending: denied, current: denied, previous: live}, overwrite},
		{"8", facts{pending: denied, current: denied, previous: denied}, giveUp},
		{"8, without a previous one", facts{pending: denied, current: denied, previous: absent}, giveUp},
		{"8, promoted", facts{pending: denied, current: absent, previous: absent}, giveUp},
	} {
		if got := decide(tc.when); got != tc.want {
			t.Errorf("row %s: %q, want %q", tc.row, got, tc.want)
		}
	}
}

// TestDecideIsBounded: whatever the logins show, there are at most three, none
// is tried twice, and it comes to an end.
func TestDecideIsBounded(t *testing.T) {
	for i := range 3 * 3 * 3 * 2 * 2 * 2 {
		shown := [3]proof{proof(1 + i%3), proof(1 + i/3%3), proof(1 + i/9%3)}
		k, logins := facts{admin: i/27%2 == 1, created: i/54%2 == 1, keepsOne: i >= 108}, 0
	walk:
		for logins <= 3 {
			switch decide(k) {
			case tryPending:
				k.pending = shown[0]
			case tryCurrent:
				k.current = shown[1]
			case tryPrevious:
				k.previous = shown[2]
			default:
				break walk
			}
			logins++
		}
		if logins > 3 {
			t.Errorf("%v: more than three logins", shown)
		}
	}
}
