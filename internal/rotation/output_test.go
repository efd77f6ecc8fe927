package rotation_test

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"arca/internal/lambda"
)

// Functions print what they like: bytes that are no text, and a letter of several bytes
// where the output is cut. What is kept of it is text, since records hold nothing else.
func TestOutputThatIsNoText(t *testing.T) {
	for name, printed := range map[string]string{
		"binary":       "\xff\xfe\x00 done",
		"cut letter":   strings.Repeat("é", 4<<10) + "x",
		"ends halfway": "caf\xc3",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.addFunction(t, "f")
			b.addSecret(t, "s", "first-password")
			b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
				if err := b.template(eventOf(t, inv)); err != nil {
					return failed(err.Error(), "")
				}
				return &lambda.Result{Payload: []byte("null"), Log: []byte(printed)}, nil
			})
			b.rotate(t, "s", "f", 2)
			b.step(t, b.engine())
			d := b.describe(t, "s")
			if len(d.Rotations) != 1 || *d.Rotations[0].Outcome != "succeeded" {
				t.Fatalf("DescribeRotation = %+v", d)
			}
			for _, s := range d.Rotations[0].Steps {
				if !utf8.ValidString(*s.Output) {
					t.Errorf("output of %s is no text: %q", *s.Step, *s.Output)
				}
			}
		})
	}
}
