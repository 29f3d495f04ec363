// Package archtest holds the tests that look at the project as a whole: who
// imports whom, the house rules a parser can check, whether the binary starts,
// and whether the test data is what its README says.
package archtest
