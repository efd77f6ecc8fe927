// Package compliance tells of every secret whether it keeps the rules that AWS Config has
// for Secrets Manager: that it is rotated, in time and often enough, that it is used, and
// that it is sealed under a key of the customer's.
//
// It promises that a secret that changes is looked at within a step or two, that one whose
// state changes by the mere passing of time is looked at when it does, that each change of
// state is told once while the process lives and at least once over restarts, and that no
// step reads more than a bounded number of secrets, however many there are.
//
// It trusts package secrets for the records and for the days of last access, and its
// caller for having authorised whoever asks for results. It makes no request, opens no
// value and reads no clock. The file in which it remembers what it has told holds random
// identities and states; who can write it can make a change be told again or not at all,
// and cannot change what Results says.
//
// https://docs.aws.amazon.com/config/latest/developerguide/managed-rules-by-aws-config.html
package compliance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"arca/internal/arn"
)

// Rule is one of the rules, by the name under which AWS Config offers it.
type Rule string

// The rules, in the order in which results list them.
const (
	RotationEnabled  Rule = "secretsmanager-rotation-enabled-check"
	ScheduledSuccess Rule = "secretsmanager-scheduled-rotation-success-check"
	PeriodicRotation Rule = "secretsmanager-secret-periodic-rotation"
	Unused           Rule = "secretsmanager-secret-unused"
	UsingCMK         Rule = "secretsmanager-using-cmk"
)

// Places of the rules in verdicts and counts.
const (
	rotationEnabled = iota
	scheduledSuccess
	periodicRotation
	unused
	usingCMK
	ruleCount
)

// Rules returns all rules in order.
func Rules() []Rule {
	return []Rule{RotationEnabled, ScheduledSuccess, PeriodicRotation, Unused, UsingCMK}
}

// ParseRule reads the name of a rule, or its identifier (SECRETSMANAGER_USING_CMK).
func ParseRule(text string) (Rule, error) {
	r := Rule(strings.ReplaceAll(strings.ToLower(text), "_", "-"))
	if !slices.Contains(Rules(), r) {
		return "", fmt.Errorf("no rule has the name %q", text)
	}
	return r, nil
}

// Identifier is the name of the rule as AWS Config identifies it.
func (r Rule) Identifier() string { return strings.ReplaceAll(strings.ToUpper(string(r)), "-", "_") }

// State is what a rule says of a secret.
type State uint8

// The states. The zero State is that of a secret that was not looked at yet.
const (
	Compliant State = iota + 1
	NonCompliant
	NotApplicable
	stateCount
)

// String is the state as AWS Config writes it.
func (s State) String() string {
	switch s {
	case Compliant:
		return "COMPLIANT"
	case NonCompliant:
		return "NON_COMPLIANT"
	case NotApplicable:
		return "NOT_APPLICABLE"
	}
	return "UNKNOWN"
}

// ParseState reads what String writes.
func ParseState(text string) (State, error) {
	for s := Compliant; s < stateCount; s++ {
		if strings.EqualFold(text, s.String()) {
			return s, nil
		}
	}
	return 0, fmt.Errorf("no state has the name %q", text)
}

// Parameters are what may be chosen about the rules. The zero value holds AWS's defaults.
type Parameters struct {
	// MaxRotationDays is maximumAllowedRotationFrequency: how many days may lie between
	// two scheduled rotations of a secret. 0 sets no bound.
	MaxRotationDays int
	// MaxRotationHours is maximumAllowedRotationFrequencyInHours, the same in hours. Only
	// one of the two may be given.
	MaxRotationHours int
	// MaxDaysSinceRotation is how many days after its last rotation, or after its creation
	// when it never was rotated, a secret counts as not rotated. 0 means 90.
	MaxDaysSinceRotation int
	// UnusedForDays is how many days after its last access, or after its creation when
	// there was none, a secret counts as unused. 0 means 90.
	UnusedForDays int
	// KMSKeyARNs are the keys under which secrets may be sealed. Empty allows every key
	// but aws/secretsmanager.
	KMSKeyARNs []string
}

const (
	defaultDays = 90
	maxDays     = 10_000
	maxKeyARNs  = 1000
)

// Validate says what is wrong with parameters, naming the one at fault.
func (p *Parameters) Validate() error {
	for _, f := range []struct {
		name       string
		value, max int
	}{
		{"max_rotation_days", p.MaxRotationDays, maxDays},
		{"max_rotation_hours", p.MaxRotationHours, 24 * maxDays},
		{"max_days_since_rotation", p.MaxDaysSinceRotation, maxDays},
		{"unused_for_days", p.UnusedForDays, maxDays},
	} {
		if f.value < 0 || f.value > f.max {
			return fmt.Errorf("%s: %d is not between 0 and %d", f.name, f.value, f.max)
		}
	}
	if p.MaxRotationDays != 0 && p.MaxRotationHours != 0 {
		return fmt.Errorf("max_rotation_days and max_rotation_hours exclude each other")
	}
	if len(p.KMSKeyARNs) > maxKeyARNs {
		return fmt.Errorf("kms_key_arns: %d keys are more than %d", len(p.KMSKeyARNs), maxKeyARNs)
	}
	for _, text := range p.KMSKeyARNs {
		a, err := arn.Parse(text)
		if err != nil || a.Service != "kms" || !strings.HasPrefix(a.Resource, "key/") {
			return fmt.Errorf("kms_key_arns: %q is not the ARN of a key", text)
		}
	}
	return nil
}

func (p Parameters) withDefaults() Parameters {
	if p.MaxDaysSinceRotation == 0 {
		p.MaxDaysSinceRotation = defaultDays
	}
	if p.UnusedForDays == 0 {
		p.UnusedForDays = defaultDays
	}
	p.KMSKeyARNs = slices.Clone(p.KMSKeyARNs)
	return p
}

// Of returns the parameters of a rule as AWS Config names and writes them.
func (p *Parameters) Of(r Rule) map[string]string {
	out := make(map[string]string)
	switch q := p.withDefaults(); r {
	case RotationEnabled:
		if q.MaxRotationDays != 0 {
			out["maximumAllowedRotationFrequency"] = strconv.Itoa(q.MaxRotationDays)
		}
		if q.MaxRotationHours != 0 {
			out["maximumAllowedRotationFrequencyInHours"] = strconv.Itoa(q.MaxRotationHours)
		}
	case PeriodicRotation:
		out["maxDaysSinceRotation"] = strconv.Itoa(q.MaxDaysSinceRotation)
	case Unused:
		out["unusedForDays"] = strconv.Itoa(q.UnusedForDays)
	case UsingCMK:
		if len(q.KMSKeyARNs) > 0 {
			out["kmsKeyArns"] = strings.Join(q.KMSKeyARNs, ",")
		}
	}
	return out
}
