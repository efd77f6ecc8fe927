package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/store"
	"arca/internal/storetest"
)

// Random transactions against a map.
func TestModel(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	scope := 0
	rapid.Check(t, func(rt *rapid.T) {
		scope++ // a fresh part of the same store
		sc := fmt.Sprint("scope", scope)
		model := map[string]thing{} // by parent
		parts := map[string]map[string]thing{}

		rt.Repeat(map[string]func(*rapid.T){
			"update": func(rt *rapid.T) {
				ids := rapid.SliceOfNDistinct(rapid.StringMatching("[abc]"), 1, 3, rapid.ID).Draw(rt, "ids")
				fail := rapid.IntRange(0, 9).Draw(rt, "fail") == 0
				next := map[string]func(tx *store.Tx){}
				apply := []func(){}
				for _, id := range ids {
					switch rapid.IntRange(0, 4).Draw(rt, "what") {
					case 0, 1:
						r := thing{Name: sc + rapid.StringMatching("[xy]{0,2}").Draw(rt, "name"), N: rapid.Int().Draw(rt, "n")}
						r.Tags = rapid.SliceOfN(rapid.Map(rapid.StringMatching("[pq]{0,2}"), func(x string) string { return sc + x }), 0, 3).Draw(rt, "tags")
						if len(r.Tags) == 0 {
							r.Tags = nil
						}
						next[id] = func(tx *store.Tx) { h.things.Put(tx, at(sc, id), &r) }
						apply = append(apply, func() { model[id] = r })
					case 2:
						next[id] = func(tx *store.Tx) {
							h.things.Delete(tx, at(sc, id))
							h.parts.DeleteChildren(tx, sc, id)
						}
						apply = append(apply, func() { delete(model, id); delete(parts, id) })
					default:
						child := rapid.StringMatching("[12]").Draw(rt, "child")
						r := thing{N: rapid.Int().Draw(rt, "n")}
						remove := rapid.Bool().Draw(rt, "remove")
						next[id] = func(tx *store.Tx) {
							h.things.Guard(tx, at(sc, id))
							if remove {
								h.parts.Delete(tx, at(sc, id, child))
							} else {
								h.parts.Put(tx, at(sc, id, child), &r)
							}
						}
						apply = append(apply, func() {
							if parts[id] == nil {
								parts[id] = map[string]thing{}
							}
							if remove {
								delete(parts[id], child)
							} else {
								parts[id][child] = r
							}
						})
					}
				}
				_, err := s.Update(t.Context(), func(tx *store.Tx) error {
					for _, id := range ids {
						next[id](tx)
					}
					if fail {
						return store.ErrNotFound
					}
					return nil
				})
				if fail != (err != nil) {
					rt.Fatalf("Update = %v, want failure %v", err, fail)
				}
				if !fail {
					for _, fn := range apply {
						fn()
					}
				}
			},
			"": func(rt *rapid.T) {
				if got := h.things.Count(sc); got != len(model) {
					rt.Fatalf("Count = %d, want %d", got, len(model))
				}
				view(t, s, func(v *store.Snap) {
					for _, id := range []string{"a", "b", "c"} {
						got, ok := h.things.Get(v, at(sc, id))
						want, exists := model[id]
						if ok != exists || ok && !cmp.Equal(*got, want) {
							rt.Fatalf("Get %s = %+v, %v, want %+v, %v", id, got, ok, want, exists)
						}
						for _, c := range []string{"1", "2"} {
							got, ok := h.parts.Get(v, at(sc, id, c))
							want, exists := parts[id][c]
							if ok != exists || ok && got.N != want.N {
								rt.Fatalf("child %s/%s = %+v, %v, want %+v, %v", id, c, got, ok, want, exists)
							}
						}
					}
					var wantNames, wantTags []string
					for _, r := range model {
						wantNames = append(wantNames, r.Name)
						wantTags = append(wantTags, slices.Compact(slices.Sorted(slices.Values(r.Tags)))...)
					}
					slices.Sort(wantNames)
					slices.Sort(wantTags)
					check := func(index string, want []string) {
						var up, down []string
						h.things.Ascend(v, index, sc, func(key string, _ *thing) bool {
							if !strings.HasPrefix(key, sc) || strings.HasPrefix(key, sc+"0") {
								return false
							}
							up = append(up, key)
							return true
						})
						h.things.Descend(v, index, sc+"z", func(key string, _ *thing) bool {
							if key < sc {
								return false
							}
							if strings.Trim(key[len(sc):], "pqxy") == "" {
								down = append(down, key)
							}
							return true
						})
						slices.Reverse(down)
						if !slices.Equal(up, want) || !slices.Equal(down, want) {
							rt.Fatalf("index %s up %q, down %q, want %q", index, up, down, want)
						}
					}
					check("name", wantNames)
					check("tag", wantTags)
				})
			},
		})
	})
}
