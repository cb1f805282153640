"""The job that FLARE runs: names and numbers only, no code."""

from nvflare.apis.job_def import ALL_SITES, SERVER_SITE_NAME
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.app_common.filters.svt_privacy import SVTPrivacy
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import (
    FullModelShareableGenerator,
)
from nvflare.app_common.workflows.broadcast_and_process import BroadcastAndProcess
from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from samparser_monai.errors import at_least, unknown
from samparser_monai.federated.flare import (
    OWN,
    OwnParts,
    TunedAggregator,
    TunedExecutor,
    TunedPersistor,
    TunedRounds,
)

PRIVACY = {"percentile": PercentilePrivacy, "svt": SVTPrivacy}


def federated_job(
    rounds: int = 10,
    local_epochs: int = 1,
    min_sites: int = 2,
    round_seconds: int = 3600,
    wait_seconds: int = 300,
    most_step: float = 0.5,
    most_cases: int = 1000,
    fedprox_mu: float = 0.0,
    own_epochs: int = 0,
    privacy: str | None = None,
    privacy_options: dict[str, float] | None = None,
) -> FedJob:
    """Return FLARE's job of a federated tuning.

    Args:
        rounds: of the whole tuning, those before a restart included.
        local_epochs: over a site's cases in a round.
        min_sites: a round that this many have answered waits ``wait_seconds`` for the others.
        round_seconds: after which a round goes on with the sites that have answered.
        wait_seconds: see ``min_sites``.
        most_step: the largest number that an update may hold.
        most_cases: what a site may weigh at most.
        fedprox_mu: weight of FedProx's term; 0 is FedAvg.
        own_epochs: for which each site trains on after the rounds, for itself; 0: it does not.
        privacy: FLARE's filter over what a site sends: percentile or svt.
        privacy_options: of that filter, by FLARE's own names.

    Raises:
        InputError: a number out of range, or an unknown filter.
    """
    at_least(1, rounds=rounds, local_epochs=local_epochs, min_sites=min_sites)
    at_least(0, own_epochs=own_epochs)
    at_least(0.0, fedprox_mu=fedprox_mu)
    if privacy and privacy not in PRIVACY:
        raise unknown("privacy", privacy, PRIVACY)
    job = FedJob("samparser", min_clients=min_sites)
    job.set_app_packages(["samparser_monai"])  # it is installed on every site; no code travels
    job.to_server(
        TunedRounds(
            min_clients=min_sites,
            num_rounds=rounds,
            wait_time_after_min_received=wait_seconds,
            train_timeout=round_seconds,
            ignore_result_error=True,
            persistor_id="persistor",
            snapshot_every_n_rounds=0,  # the tuned part says where its rounds stand
        )
    )
    job.to_server(TunedAggregator(most_step, most_cases), id="aggregator")
    job.to_server(TunedPersistor(), id="persistor")
    job.to_server(FullModelShareableGenerator(), id="shareable_generator")
    if own_epochs:
        job.to_server(BroadcastAndProcess(OwnParts(), OWN, min_sites, wait_seconds, round_seconds))
    executor = TunedExecutor(local_epochs, fedprox_mu, own_epochs)
    job.to(executor, ALL_SITES, tasks=["train", OWN])
    for target in (SERVER_SITE_NAME, ALL_SITES):
        job.to({"np_download_chunk_size": 0}, target)  # 2 KB go in the message, not behind it
    if privacy:
        chosen = PRIVACY[privacy](**privacy_options or {})
        job.to(chosen, ALL_SITES, filter_type=FilterType.TASK_RESULT, tasks=["train"])
    return job
