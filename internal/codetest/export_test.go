package codetest

import "arca/internal/api"

// Missing is what Main would complain of.
func (c *Codes) Missing(operations []*api.Operation, excused func(op, code string) string) []string {
	return c.missing(operations, excused)
}
