// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/cacerts"
)

// issue makes a certificate with a common name.
func issue(t tb, name string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// store makes the store of a tree out of its configuration and files; certificates are in the order of the configuration.
func (f files) store(t tb, order ...string) files {
	t.Helper()
	bundle := ""
	for _, name := range order {
		content := f[name]
		bundle += content
		f["etc/ssl/certs/"+cacerts.StoreName(name)] = "-> /" + name
		hash, ok := cacerts.Subject([]byte(content))
		if !ok {
			t.Fatalf("%s has no subject", name)
		}
		f["etc/ssl/certs/"+hash+".0"] = "-> " + cacerts.StoreName(name)
	}
	f[cacerts.BundlePath] = bundle
	return f
}

func TestF4CertificatesOfBothSides(t *testing.T) {
	a, bad, unwanted, fresh, own, byHand := issue(t, "a"), issue(t, "bad"), issue(t, "unwanted"), issue(t, "fresh"), issue(t, "own"), issue(t, "by hand")
	const dir, local = "usr/share/ca-certificates/m/", "usr/local/share/ca-certificates/"
	old := files{dir + "a.crt": a, dir + "bad.crt": bad, dir + "unwanted.crt": unwanted, cacerts.ConfigPath: "# x\nm/a.crt\nm/bad.crt\nm/unwanted.crt\n"}.store(t, dir+"a.crt", dir+"bad.crt", dir+"unwanted.crt")
	base := files{dir + "a.crt": a, dir + "fresh.crt": fresh, dir + "unwanted.crt": unwanted, cacerts.ConfigPath: "# x\nm/a.crt\nm/fresh.crt\nm/unwanted.crt\n"}.store(t, dir+"a.crt", dir+"fresh.crt", dir+"unwanted.crt")
	hash := func(content string) string {
		h, _ := cacerts.Subject([]byte(content))
		return "etc/ssl/certs/" + h + ".0"
	}
	s := newScenario(t, old, base, func(root string) {
		u := sh{t, root}
		u.put(cacerts.ConfigPath, "# x\nm/a.crt\nm/bad.crt\n!m/unwanted.crt\n")
		u.put(local+"own.crt", own)
		u.put("etc/ssl/certs/own.pem", "-> /"+local+"own.crt")
		u.rm(hash(own), "etc/ssl/certs/unwanted.pem", hash(unwanted))
		u.put(hash(own), "-> own.pem")
		u.rm(hash(a))
		u.put(hash(a), "-> a.pem") // made again by c_rehash
		u.put(cacerts.BundlePath, a+bad+own+byHand)
	})
	report := s.serviced(func(root string) {
		files{
			cacerts.BundlePath: a + fresh + own + byHand, newTree + cacerts.BundlePath: "", cacerts.ConfigPath: "# x\nm/a.crt\nm/fresh.crt\n!m/unwanted.crt\n",
			"etc/ssl/certs/a.pem": "-> /" + dir + "a.crt", "etc/ssl/certs/fresh.pem": "-> /" + dir + "fresh.crt", "etc/ssl/certs/own.pem": "-> /" + local + "own.crt", "etc/ssl/certs/bad.pem": "", "etc/ssl/certs/unwanted.pem": "",
			hash(a): "-> a.pem", hash(fresh): "-> fresh.pem", hash(own): "-> own.pem", hash(bad): "", hash(unwanted): "",
		}.check(t, root)
	})
	if got := verdictOf(report, cacerts.BundlePath); got != Regenerate {
		t.Errorf("the verdict is %s", got)
	}
	unchangedBase(t, s)
}

// TestF4TheSameSubject has both sides bring a certificate of the same subject: both links have a number.
func TestF4TheSameSubject(t *testing.T) {
	a, theirs, mine := issue(t, "a"), issue(t, "same"), issue(t, "same")
	const dir, local = "usr/share/ca-certificates/m/", "usr/local/share/ca-certificates/"
	old := files{dir + "a.crt": a, cacerts.ConfigPath: "m/a.crt\n"}.store(t, dir+"a.crt")
	base := files{dir + "a.crt": a, dir + "theirs.crt": theirs, cacerts.ConfigPath: "m/a.crt\nm/theirs.crt\n"}.store(t, dir+"a.crt", dir+"theirs.crt")
	same, _ := cacerts.Subject([]byte(mine))
	s := newScenario(t, old, base, func(root string) {
		u := sh{t, root}
		u.put(local+"mine.crt", mine)
		u.put("etc/ssl/certs/mine.pem", "-> /"+local+"mine.crt")
		u.put("etc/ssl/certs/"+same+".0", "-> mine.pem")
		u.put(cacerts.BundlePath, a+mine)
	})
	s.serviced(func(root string) {
		files{cacerts.BundlePath: a + theirs + mine, "etc/ssl/certs/" + same + ".0": "-> mine.pem", "etc/ssl/certs/" + same + ".1": "-> theirs.pem"}.check(t, root)
	})
	unchangedBase(t, s)
}

// TestF4Debian compares with update-ca-certificates on a real base and its update, as `make demo-debian` makes them.
func TestF4Debian(t *testing.T) {
	trees, err := filepath.Abs("../.cache/debian")
	must(t, err)
	s := &scenario{t: t, old: filepath.Join(trees, "old"), base: filepath.Join(trees, "new")}
	for _, dir := range []string{s.old, s.base} {
		if _, err := os.Stat(filepath.Join(dir, "usr/sbin/update-ca-certificates")); err != nil {
			t.Skip("there are no trees: make demo-debian makes them")
		}
	}
	own := issue(t, "own")
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.put("usr/local/share/ca-certificates/own.crt", own)
		config := content(t, root, cacerts.ConfigPath)
		u.put(cacerts.ConfigPath, strings.Replace(config, "\nmozilla/ISRG_Root_X1.crt", "\n!mozilla/ISRG_Root_X1.crt", 1))
		run(t, "chroot", root, "update-ca-certificates")
	})
	s.serviced(func(root string) {
		before := snapshot(t, filepath.Join(root, cacerts.StoreDir))
		for _, gone := range []string{"ISRG_Root_X1.pem"} {
			if before[gone] != "" {
				t.Errorf("%s is there", gone)
			}
		}
		if bundle := content(t, root, cacerts.BundlePath); !strings.HasSuffix(bundle, own) || len(before) < 200 {
			t.Errorf("the user's own is not in a bundle of %d bytes, %d links", len(bundle), len(before))
		}
		run(t, "chroot", root, "update-ca-certificates", "--fresh")
		if after := snapshot(t, filepath.Join(root, cacerts.StoreDir)); !equal(before, after) {
			for name, what := range after {
				if before[name] != what {
					t.Errorf("update-ca-certificates makes %s %.80q, not %.80q", name, what, before[name])
				}
			}
			for name := range before {
				if after[name] == "" {
					t.Errorf("update-ca-certificates removes %s", name)
				}
			}
		}
	})
	unchangedBase(t, s)
}
