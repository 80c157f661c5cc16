// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package diff3

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name, base, a, b, want string
		err                    error
	}{
		{name: "nothing changed", base: "1\n2\n", a: "1\n2\n", b: "1\n2\n", want: "1\n2\n"},
		{name: "all empty"},
		{name: "one side", base: "1\n2\n3\n", a: "1\nx\n3\n", b: "1\n2\n3\n", want: "1\nx\n3\n"},
		{name: "apart", base: "1\n2\n3\n4\n5\n", a: "x\n2\n3\n4\n5\n", b: "1\n2\n3\n4\ny\n", want: "x\n2\n3\n4\ny\n"},
		{name: "the same change", base: "1\n2\n3\n", a: "1\nx\n3\n", b: "1\nx\n3\n", want: "1\nx\n3\n"},
		{name: "the same insertion", base: "1\n2\n", a: "1\nx\n2\n", b: "1\nx\n2\n", want: "1\nx\n2\n"},
		{name: "overlap", base: "1\n2\n3\n", a: "1\nx\n3\n", b: "1\ny\n3\n", err: ErrConflict},
		{name: "touching", base: "1\n2\n3\n4\n", a: "1\nx\n3\n4\n", b: "1\n2\ny\n4\n", err: ErrConflict},
		{name: "insertions at one place", base: "1\n2\n", a: "1\nx\n2\n", b: "1\ny\n2\n", err: ErrConflict},
		{name: "edited and deleted", base: "1\n2\n3\n", a: "1\n3\n", b: "1\nx\n3\n", err: ErrConflict},
		{name: "both appended", base: "1\n", a: "1\nx\n", b: "1\ny\n", err: ErrConflict},
		{name: "from nothing", a: "x\n", b: "y\n", err: ErrConflict},
		{name: "from nothing to the same", a: "x\n", b: "x\n", want: "x\n"},
		{name: "no newline at the end", base: "1\n2\n3\n4", a: "x\n2\n3\n4", b: "1\n2\n3\n4", want: "x\n2\n3\n4"},
		{name: "newline added at the end", base: "1\n2\n3\n4", a: "x\n2\n3\n4", b: "1\n2\n3\n4\n", want: "x\n2\n3\n4\n"},
		{name: "newline removed, line appended", base: "1\n2\n", a: "1\n2", b: "1\n2\n3\n", err: ErrConflict},
		{name: "line ends", base: "1\r\n2\r\n3\r\n4\r\n", a: "1\r\n2\r\n3\r\nx\r\n", b: "y\r\n2\r\n3\r\n4\r\n", want: "y\r\n2\r\n3\r\nx\r\n"},
		{name: "line ends converted by one side", base: "1\n2\n3\n", a: "1\r\n2\r\n3\r\n", b: "1\n2\nx\n", err: ErrConflict},
		{
			name: "which of the equal lines was deleted", base: "x\nx\nx\nx\n1\n2\n", a: "x\nx\nx\n1\n2\n", b: "y\nx\nx\nx\n1\n2\n",
			err: ErrConflict,
		},
		{name: "binary", base: "1\n", a: "1\x00\n", b: "1\n", err: ErrBinary},
		{name: "too large", base: "1\n", a: strings.Repeat("x", MaxSize+1), b: "1\n", err: ErrTooLarge},
		{name: "too many lines", base: "1\n", a: strings.Repeat("\n", MaxLines+1), b: "1\n", err: ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, order := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
				got, err := Merge([]byte(c.base), []byte(order[0]), []byte(order[1]))
				if !errors.Is(err, c.err) || string(got) != c.want {
					t.Fatalf("got %q, %v; want %q, %v", got, err, c.want, c.err)
				}
			}
		})
	}
}

// text draws lines of few kinds, so that equal lines are frequent.
func text(t *rapid.T, label string) []string {
	return rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "", "e f"}), 0, 14).Draw(t, label)
}

// edited draws a version of a text with up to three changes.
func edited(t *rapid.T, in []string, label string) []string {
	out := append([]string(nil), in...)
	for range rapid.IntRange(0, 3).Draw(t, label+" changes") {
		at := rapid.IntRange(0, len(out)).Draw(t, "at")
		line := rapid.SampledFrom([]string{"a", "b", "", "new 1", "new 2"}).Draw(t, "line")
		switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); {
		case kind == 0 || at == len(out):
			out = append(out[:at], append([]string{line}, out[at:]...)...)
		case kind == 1:
			out = append(out[:at], out[at+1:]...)
		default:
			out[at] = line
		}
	}
	return out
}

func joined(t *rapid.T, in []string) []byte {
	end := "\n"
	if len(in) == 0 || in[len(in)-1] != "" && rapid.IntRange(0, 9).Draw(t, "no newline") == 0 {
		end = ""
	}
	return []byte(strings.Join(in, "\n") + end)
}

func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := text(t, "base")
		base, a, b := joined(t, o), joined(t, edited(t, o, "a")), joined(t, edited(t, o, "b"))
		one, oneErr := Merge(base, a, b)
		two, twoErr := Merge(base, b, a)
		if !bytes.Equal(one, two) || !errors.Is(oneErr, twoErr) {
			t.Fatalf("the order of the sides matters: %q, %v and %q, %v", one, oneErr, two, twoErr)
		}
		if got, err := Merge(base, a, base); err != nil || !bytes.Equal(got, a) {
			t.Fatalf("a change on one side only: %q, %v, want %q", got, err, a)
		}
		if got, err := Merge(base, a, a); err != nil || !bytes.Equal(got, a) {
			t.Fatalf("the same on both sides: %q, %v, want %q", got, err, a)
		}
	})
}

// TestMergeAgainstGit compares with git merge-file: what is clean here is clean there and the same. The other way round
// is allowed (see the package comment), but must stay the exception.
func TestMergeAgainstGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	var clean, stricter int
	rapid.Check(t, func(t *rapid.T) {
		for range 3 {
			o := text(t, "base")
			base, a, b := joined(t, o), joined(t, edited(t, o, "a")), joined(t, edited(t, o, "b"))
			want, conflict := mergeFile(t, git, dir, base, a, b)
			got, err := Merge(base, a, b)
			switch {
			case err == nil && conflict:
				t.Fatalf("clean, but git sees a conflict\nbase %q\na %q\nb %q\ngot %q\ngit %q", base, a, b, got, want)
			case err == nil && !bytes.Equal(got, want):
				t.Fatalf("differs from git\nbase %q\na %q\nb %q\ngot %q\ngit %q", base, a, b, got, want)
			case err == nil:
				clean++
			case !conflict:
				stricter++
			}
		}
	})
	t.Logf("%d clean as in git, %d clean in git only", clean, stricter)
	if stricter > clean {
		t.Errorf("stricter than git in %d cases, clean in %d only", stricter, clean)
	}
}

// mergeFile runs git merge-file; its exit code is the number of conflicts, 255 or above 127 for an error.
func mergeFile(t *rapid.T, git, dir string, base, a, b []byte) (merged []byte, conflict bool) {
	names := make([]string, 0, 3)
	for name, content := range map[string][]byte{"base": base, "a": a, "b": b} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "base", "b"} {
		names = append(names, filepath.Join(dir, name))
	}
	out, err := exec.Command(git, append([]string{"merge-file", "-p"}, names...)...).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 127) {
		t.Fatalf("git merge-file: %v", err)
	}
	return out, err != nil
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte("1\n2\n3\n"), []byte("1\nx\n3\n"), []byte("1\n2\n3\ny"))
	f.Add([]byte("a\r\n"), []byte(""), []byte("a\r\nb"))
	f.Fuzz(func(t *testing.T, base, a, b []byte) {
		one, oneErr := Merge(base, a, b)
		two, twoErr := Merge(base, b, a)
		if !bytes.Equal(one, two) || fmt.Sprint(oneErr) != fmt.Sprint(twoErr) {
			t.Fatalf("the order of the sides matters: %q, %v and %q, %v", one, oneErr, two, twoErr)
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	var o, x, y bytes.Buffer
	for i := range 20_000 {
		line := fmt.Sprintf("line %d\n", i)
		o.WriteString(line)
		switch i {
		case 100:
			x.WriteString("changed\n")
			y.WriteString(line)
		case 15_000:
			x.WriteString(line)
			y.WriteString("changed\n")
		default:
			x.WriteString(line)
			y.WriteString(line)
		}
	}
	for b.Loop() {
		if _, err := Merge(o.Bytes(), x.Bytes(), y.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}
