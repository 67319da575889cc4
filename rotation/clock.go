package rotation

import "time"

// now is the function's clock.
func (f *Function) now() time.Time {
	if f.Now == nil {
		return time.Now().UTC()
	}
	return f.Now().UTC()
}
