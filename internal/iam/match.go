package iam

import "github.com/keyturn/keyturn/internal/iam/policy"

// Match reports whether s matches a policy's pattern: * stands for any run of
// characters, slashes and colons among them, ? for any one.
func Match(pattern, s string) bool { return policy.Match(pattern, s) }
