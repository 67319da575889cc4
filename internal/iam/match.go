package iam

// Match reports whether s matches a policy's pattern: * stands for any run of
// characters, slashes and colons among them, ? for any one.
func Match(pattern, s string) bool { return matches(pattern, s, false) }
