package paging_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"arca/internal/paging"
	"arca/internal/storetest"
)

// Another implementation has sealed this token in the store of storetest.Known
// (scripts/known-answers.py).
func TestKnownToken(t *testing.T) {
	raw, err := os.ReadFile("testdata/known.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Parts                     []string `json:"question_parts"`
		Question, Position, Token string
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	q := paging.QuestionOf(known.Parts...)
	if hex.EncodeToString(q[:]) != known.Question {
		t.Errorf("QuestionOf(%q) = %x, want %s", known.Parts, q, known.Question)
	}
	got, err := paging.Open(storetest.Known(t, nil, nil), q, known.Token)
	if err != nil || got != known.Position {
		t.Errorf("Open = %q, %v, want %q", got, err, known.Position)
	}
}
