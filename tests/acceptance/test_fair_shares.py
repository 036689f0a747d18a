"""One client's flood beside another's few jobs, over real processes and emulated nodes."""

from __future__ import annotations

from ladle_site import PATIENCE_S, wait_until


def test_a_few_jobs_are_done_long_before_another_clients_flood(make_site):
    site = make_site(fairness=0.5)
    site.start("a", "b")
    with site.client() as flood, site.client() as few:
        many = flood.submit_many([{"prompt": "many", "num_inference_steps": 25}] * 200)  # 0.1 s each
        wait_until(lambda: "DONE" in {row["state"] for row in site.rows(*[h.job for h in many])}, "the flood's first")
        handles = few.submit_many([{"prompt": "few", "num_inference_steps": 25}] * 5)
        assert all(handle.result(PATIENCE_S).images for handle in handles)
        left = [row for row in site.rows(*[handle.job for handle in many]) if row["state"] != "DONE"]
    assert len(left) > 100
