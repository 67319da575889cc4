// Package rotationtest holds the one suite that every rotation engine passes,
// against real servers. It has tests only.
package rotationtest
