package main

import (
	"github.com/keyturn/keyturn/internal/scheduler"
	"github.com/keyturn/keyturn/internal/secret"
)

// scheduleSettings are what a keyturn server reads besides a secret's rule.
func scheduleSettings() []tagSetting {
	return []tagSetting{
		scheduleSetting("time-zone", scheduler.TimeZoneTag, "time zone of the schedule on a keyturn server, such as Europe/Berlin"),
		scheduleSetting("blackout", scheduler.BlackoutTag,
			`days on which a keyturn server begins no scheduled rotation, such as "2026-12-24/2027-01-02 2026-11-27"`),
		scheduleSetting("drift-check", scheduler.DriftCheckTag, "how often a keyturn server looks whether AWSCURRENT still logs in, such as 6h; off: never"),
	}
}

func scheduleSetting(flag, tag, usage string) tagSetting {
	return tagSetting{flag: flag, tag: tag, usage: usage,
		check: func(value string) error { return scheduler.CheckTag(secret.Tag{Key: tag, Value: value}) }}
}
