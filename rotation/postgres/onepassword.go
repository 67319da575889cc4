package postgres

import "github.com/keyturn/keyturn/rotation"

var _ rotation.OnePassword = Engine{}

// OnePassword implements rotation.OnePassword: a role has one.
func (Engine) OnePassword() {}
