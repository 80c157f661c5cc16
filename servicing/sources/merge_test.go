// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sources_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sources"
)

const (
	debian   = "http://deb.debian.org/debian"
	security = "http://deb.debian.org/debian-security"
)

// stanzas writes Debian's own sources of a release.
func stanzas(mirror, release, components string) string {
	return "Types: deb\n# the archive\nURIs: " + mirror + "\nSuites: " + release + " " + release + "-updates\nComponents: " + components +
		"\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\nTypes: deb\nURIs: " + security + "\nSuites: " + release +
		"-security\nComponents: " + components + "\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
}

// lines writes Debian's sources of a release as lines.
func lines(mirror, release, components string) string {
	return "# see sources.list(5)\ndeb " + mirror + " " + release + " " + components + "\ndeb " + mirror + " " + release + "-updates " + components +
		"\ndeb " + security + " " + release + "-security " + components + "\n"
}

func alpine(mirror, release string) string {
	return mirror + "/" + release + "/main\n" + mirror + "/" + release + "/community\n"
}

const (
	cdn   = "https://dl-cdn.alpinelinux.org/alpine"
	other = "https://mirror.example/alpine"
	near  = "http://ftp.example/debian"
)

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		form, baseForm        sources.Form // the same where the second is none
		old, base, user, want string       // nothing wanted: cannot be merged
		told                  string
	}{
		"apk: a repository was appended": {
			form: sources.APK, old: alpine(cdn, "v3.19"), base: alpine(cdn, "v3.20"), user: alpine(cdn, "v3.19") + "@edge " + cdn + "/edge/testing\n",
			want: alpine(cdn, "v3.20") + "@edge " + cdn + "/edge/testing\n",
		},
		"apk: one was commented out": {
			form: sources.APK, old: alpine(cdn, "v3.19"), base: alpine(cdn, "v3.20"), user: cdn + "/v3.19/main\n#" + cdn + "/v3.19/community\n",
			want: cdn + "/v3.20/main\n#" + cdn + "/v3.19/community\n",
		},
		"apk: another mirror": {
			form: sources.APK, old: alpine(cdn, "v3.19"), base: alpine(cdn, "v3.20"), user: alpine(other, "v3.19"), want: alpine(other, "v3.20"),
		},
		"apk: another mirror and a repository that the base has now": {
			form: sources.APK, old: cdn + "/v3.19/main\n", base: alpine(cdn, "v3.20"), user: alpine(other, "v3.19"), want: alpine(other, "v3.20"),
		},
		"apk: the base brings a repository": {
			form: sources.APK, old: cdn + "/v3.19/main\n", base: alpine(cdn, "v3.20"), user: other + "/v3.19/main # near\n",
			want: other + "/v3.20/main # near\n" + other + "/v3.20/community\n",
		},
		"apk: both took another mirror": {
			form: sources.APK, old: alpine(cdn, "v3.19"), base: alpine("https://new.example/alpine", "v3.20"), user: alpine(other, "v3.19"),
		},
		"apk: both moved to other releases": {
			form: sources.APK, old: alpine(cdn, "v3.19"), base: alpine(cdn, "v3.20"), user: alpine(cdn, "edge"),
		},
		"apk: not understood": {form: sources.APK, old: alpine(cdn, "v3.19"), base: alpine(cdn, "v3.20"), user: "main\n"},
		"lines: another mirror and a component": {
			form: sources.Line, old: lines(debian, "bookworm", "main"), base: lines(debian, "trixie", "main"),
			user: lines(near, "bookworm", "main contrib"), want: lines(near, "trixie", "main contrib"),
		},
		"lines: a component in one part only": {
			form: sources.Line, old: lines(debian, "bookworm", "main"), base: lines(debian, "trixie", "main"),
			user: strings.Replace(lines(debian, "bookworm", "main"), "bookworm main", "bookworm main contrib", 1),
			want: strings.Replace(lines(debian, "trixie", "main"), "trixie main", "trixie main contrib", 1),
		},
		"lines: a component of the base": {
			form: sources.Line, old: lines(debian, "bookworm", "main"), base: lines(debian, "trixie", "main non-free-firmware"),
			user: lines(near, "bookworm", "main contrib"), want: lines(near, "trixie", "main contrib non-free-firmware"),
		},
		"lines: an archive of others": {
			form: sources.Line, old: lines(debian, "bookworm", "main"), base: lines(debian, "trixie", "main"),
			user: lines(debian, "bookworm", "main") + "deb [signed-by=/k.gpg] https://docker.example/debian bookworm stable\n",
			want: lines(debian, "trixie", "main") + "deb [signed-by=/k.gpg] https://docker.example/debian bookworm stable\n",
			told: "https://docker.example/debian bookworm",
		},
		"lines: backports of the old release": {
			form: sources.Line, old: lines(debian, "bookworm", "main"), base: lines(debian, "trixie", "main"),
			user: lines(debian, "bookworm", "main") + "deb " + debian + " bookworm-backports main\n",
		},
		"stanzas: another mirror and a component": {
			form: sources.Stanza, old: stanzas(debian, "bookworm", "main"), base: stanzas(debian, "trixie", "main"),
			user: stanzas(near, "bookworm", "main contrib"), want: stanzas(near, "trixie", "main contrib"),
		},
		"stanzas: one of the user's own": {
			form: sources.Stanza, old: stanzas(debian, "bookworm", "main"), base: stanzas(debian, "trixie", "main"),
			user: stanzas(debian, "bookworm", "main") + "\nTypes: deb\nURIs: https://x.example/apt\nSuites: stable\nComponents: main\n",
			want: stanzas(debian, "trixie", "main") + "\nTypes: deb\nURIs: https://x.example/apt\nSuites: stable\nComponents: main\n",
		},
		"stanzas: one switched off": {
			form: sources.Stanza, old: stanzas(debian, "bookworm", "main"), base: stanzas(debian, "trixie", "main"),
			user: strings.Replace(stanzas(debian, "bookworm", "main"), "\n\nTypes: deb\n", "\n\nTypes: deb\nEnabled: no\n", 1),
			want: strings.Replace(stanzas(debian, "trixie", "main"), "\n\nTypes: deb\nURIs: "+security+"\nSuites: trixie",
				"\n\nTypes: deb\nEnabled: no\nURIs: "+security+"\nSuites: bookworm", 1),
		},
		"stanzas: the base says who signs, the user another mirror": {
			form: sources.Stanza, old: strings.ReplaceAll(stanzas(debian, "bookworm", "main"), "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n", ""),
			base: stanzas(debian, "trixie", "main"),
			user: strings.ReplaceAll(stanzas(near, "bookworm", "main"), "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n", ""),
			want: stanzas(near, "trixie", "main"),
		},
		"lines, and stanzas in the base": {
			form: sources.Line, baseForm: sources.Stanza, old: lines(debian, "bookworm", "main"), base: stanzas(debian, "trixie", "main"),
			user: lines(near, "bookworm", "main contrib"), want: stanzas(near, "trixie", "main contrib"),
		},
		"lines, stanzas in the base, and an archive of others": {
			form: sources.Line, baseForm: sources.Stanza, old: lines(debian, "bookworm", "main"), base: stanzas(debian, "trixie", "main"),
			user: lines(near, "bookworm", "main") + "deb https://docker.example/debian bookworm stable\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			baseForm := c.baseForm
			if baseForm == sources.None {
				baseForm = c.form
			}
			got, told, ok := sources.MergeForms(c.form, baseForm, []byte(c.old), []byte(c.base), []byte(c.user))
			if ok != (c.want != "") || ok && string(got) != c.want {
				t.Errorf("got %v\n%s\nwant\n%s", ok, got, c.want)
			}
			if (told == "") != (c.told == "") || !strings.Contains(told, c.told) {
				t.Errorf("told %q, want %q", told, c.told)
			}
		})
	}
}

// words puts the words of each line, and the lines, in one order: that of components and of sources means nothing.
func words(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		all := strings.Fields(line)
		slices.Sort(all)
		if len(all) > 0 {
			out = append(out, strings.Join(all, " "))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// TestOneSide: where one side changed nothing, the other one's is the result, whatever it did.
func TestOneSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		form := rapid.SampledFrom([]sources.Form{sources.APK, sources.Line, sources.Stanza}).Draw(t, "form")
		file := func(label string) string {
			mirror := rapid.SampledFrom([]string{debian, near}).Draw(t, label+" mirror")
			release := rapid.SampledFrom([]string{"bookworm", "trixie"}).Draw(t, label+" release")
			components := rapid.SampledFrom([]string{"main", "main contrib", "contrib"}).Draw(t, label+" components")
			switch form {
			case sources.APK:
				return alpine(mirror, release)
			case sources.Line:
				return lines(mirror, release, components)
			}
			return stanzas(mirror, release, components)
		}
		old, changed := file("old"), file("changed")
		if got, _, ok := sources.Merge(form, []byte(old), []byte(changed), []byte(old)); !ok || words(string(got)) != words(changed) {
			t.Fatalf("the base's alone: %v\n%s", ok, got)
		}
		if got, told, ok := sources.Merge(form, []byte(old), []byte(old), []byte(changed)); !ok || words(string(got)) != words(changed) || told != "" {
			t.Fatalf("the user's alone: %v %s\n%s", ok, told, got)
		}
	})
}

// TestFormOf: files are known by their paths.
func TestFormOf(t *testing.T) {
	for path, want := range map[string]sources.Form{
		"etc/apk/repositories": sources.APK, "etc/apt/sources.list": sources.Line, "etc/apt/sources.list.d/x.list": sources.Line,
		"etc/apt/sources.list.d/debian.sources": sources.Stanza, "etc/apt/sources.list.d/x.save": sources.None, "etc/apk/world": sources.None,
	} {
		if got := sources.FormOf(path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

// FuzzMerge: nothing makes it fail, and what it merges it understands.
func FuzzMerge(f *testing.F) {
	f.Add(1, alpine(cdn, "v3.19"), alpine(cdn, "v3.20"), alpine(other, "v3.19"))
	f.Add(2, lines(debian, "bookworm", "main"), lines(debian, "trixie", "main"), lines(near, "bookworm", "main contrib"))
	f.Add(3, stanzas(debian, "bookworm", "main"), stanzas(debian, "trixie", "main"), stanzas(near, "bookworm", "main contrib"))
	f.Fuzz(func(t *testing.T, form int, old, base, user string) {
		kind := sources.Form(form&3) | 1
		got, _, ok := sources.Merge(kind, []byte(old), []byte(base), []byte(user))
		if !ok {
			return
		}
		if _, _, ok := sources.Merge(kind, got, got, got); !ok {
			t.Errorf("cannot be read: %q", got)
		}
	})
}
