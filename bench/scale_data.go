package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// The secrets that scale is measured with. Everything about a secret follows from its
// number, so that a folder can be filled further later, what is written twice is written
// alike, and every answer can be checked. What filters look for is spread evenly over
// the numbers: a share is the same among 1,000 secrets as among 500,000.

// Values are of ordinary size: most are short passwords with some members around them,
// a few are certificates.
const (
	minScaleValue    = 40
	maxScaleValue    = 1024
	spreadScaleValue = 226.8 // which makes the mean 264
)

// scaleTeams is how many prefixes names begin with; each selects 1 % of the secrets.
const scaleTeams = 100

// scaleWords is how many words a description draws one of; each selects 1 %.
const scaleWords = 100

// scaleName is the name of a secret: the order of names is none of the others.
func scaleName(i int) string {
	return fmt.Sprintf("team-%02d/service-%04d/password", i%scaleTeams, i/scaleTeams)
}

// scaleDescription is some sixty characters.
func scaleDescription(i int) string {
	return fmt.Sprintf("Password of database-%02d, which service %d of team %d uses", i/7%scaleWords, i/scaleTeams, i%scaleTeams)
}

type scaleTag struct{ Key, Value string }

// scaleTags are three tags: one that a third of the secrets share, one whose value 1 %
// share, and one whose key 1 % have.
func scaleTags(i int) []scaleTag {
	third := scaleTag{"cost-center", strconv.Itoa(1000 + i%40)}
	if i/11%100 == 17 {
		third = scaleTag{"audited", "yearly"}
	}
	return []scaleTag{
		{"environment", []string{"production", "staging", "test"}[i%3]},
		{"owner", fmt.Sprintf("person-%02d", i/13%100)},
		third,
	}
}

// scaleValue is the value of a secret's first or second version.
func scaleValue(i, version int) string {
	r := rand.New(rand.NewPCG(uint64(i), uint64(version)))
	size := min(maxScaleValue, minScaleValue+int(r.ExpFloat64()*spreadScaleValue))
	const around = `{"username":"app","password":""}`
	password := make([]byte, max(8, size-len(around)))
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	for k := range password {
		password[k] = characters[r.IntN(len(characters))]
	}
	return `{"username":"app","password":"` + string(password) + `"}`
}

// scaleToken is the token of that write, so that repeating it changes nothing.
func scaleToken(i, version int) string {
	return fmt.Sprintf("scale-token-%012d-version-%d-----", i, version)
}

// scaleIsRead reports whether the loader reads a secret once: most secrets of an account
// have been read, some never.
func scaleIsRead(i int) bool { return i%10 != 3 }
