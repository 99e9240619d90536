"""BibTeX entries of the papers that this library implements, by key; :mod:`.cite` picks from them."""

from __future__ import annotations

_ENTRIES = r"""
@article{dormand1980family,
  author  = {Dormand, John R. and Prince, Peter J.},
  title   = {A family of embedded {Runge-Kutta} formulae},
  journal = {Journal of Computational and Applied Mathematics},
  volume  = {6},
  number  = {1},
  pages   = {19--26},
  year    = {1980}
}

@article{bogacki1989pair,
  author  = {Bogacki, Przemyslaw and Shampine, Lawrence F.},
  title   = {A 3(2) pair of {Runge-Kutta} formulas},
  journal = {Applied Mathematics Letters},
  volume  = {2},
  number  = {4},
  pages   = {321--325},
  year    = {1989}
}

@article{hutchinson1990stochastic,
  author  = {Hutchinson, Michael F.},
  title   = {A stochastic estimator of the trace of the influence matrix for {Laplacian} smoothing splines},
  journal = {Communications in Statistics - Simulation and Computation},
  volume  = {19},
  number  = {2},
  pages   = {433--450},
  year    = {1990}
}

@inproceedings{tancik2020fourier,
  author    = {Tancik, Matthew and Srinivasan, Pratul P. and Mildenhall, Ben and Fridovich-Keil, Sara and
               Raghavan, Nithin and Singhal, Utkarsh and Ramamoorthi, Ravi and Barron, Jonathan T. and Ng, Ren},
  title     = {Fourier features let networks learn high frequency functions in low dimensional domains},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2020},
  eprint    = {2006.10739}, archiveprefix = {arXiv}
}

@article{tsitouras2011runge,
  author  = {Tsitouras, Charalampos},
  title   = {{Runge-Kutta} pairs of order 5(4) satisfying only the first column simplifying assumption},
  journal = {Computers and Mathematics with Applications},
  volume  = {62},
  number  = {2},
  pages   = {770--775},
  year    = {2011}
}

@inproceedings{uria2014deep,
  author    = {Uria, Benigno and Murray, Iain and Larochelle, Hugo},
  title     = {A deep and tractable density estimator},
  booktitle = {International Conference on Machine Learning},
  year      = {2014},
  eprint    = {1310.1757}, archiveprefix = {arXiv}
}

@inproceedings{hoogeboom2022autoregressive,
  author    = {Hoogeboom, Emiel and Gritsenko, Alexey A. and Bastings, Jasmijn and Poole, Ben and
               van den Berg, Rianne and Salimans, Tim},
  title     = {Autoregressive diffusion models},
  booktitle = {International Conference on Learning Representations},
  year      = {2022},
  eprint    = {2110.02037}, archiveprefix = {arXiv}
}

@inproceedings{strauss2021arbitrary,
  author    = {Strauss, Ryan R. and Oliva, Junier B.},
  title     = {Arbitrary conditional distributions with energy},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2021},
  eprint    = {2102.04426}, archiveprefix = {arXiv}
}

@inproceedings{dinh2015nice,
  author    = {Dinh, Laurent and Krueger, David and Bengio, Yoshua},
  title     = {{NICE}: Non-linear independent components estimation},
  booktitle = {International Conference on Learning Representations, Workshop Track},
  year      = {2015},
  eprint    = {1410.8516}, archiveprefix = {arXiv}
}

@inproceedings{germain2015made,
  author    = {Germain, Mathieu and Gregor, Karol and Murray, Iain and Larochelle, Hugo},
  title     = {{MADE}: Masked autoencoder for distribution estimation},
  booktitle = {International Conference on Machine Learning},
  year      = {2015},
  eprint    = {1502.03509}, archiveprefix = {arXiv}
}

@inproceedings{rezende2015variational,
  author    = {Rezende, Danilo Jimenez and Mohamed, Shakir},
  title     = {Variational inference with normalizing flows},
  booktitle = {International Conference on Machine Learning},
  year      = {2015},
  eprint    = {1505.05770}, archiveprefix = {arXiv}
}

@inproceedings{he2016identity,
  author    = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  title     = {Identity mappings in deep residual networks},
  booktitle = {European Conference on Computer Vision},
  year      = {2016},
  eprint    = {1603.05027}, archiveprefix = {arXiv}
}

@inproceedings{kingma2016improved,
  author    = {Kingma, Diederik P. and Salimans, Tim and Jozefowicz, Rafal and Chen, Xi and Sutskever, Ilya and
               Welling, Max},
  title     = {Improving variational inference with inverse autoregressive flow},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2016},
  eprint    = {1606.04934}, archiveprefix = {arXiv}
}

@inproceedings{vandenoord2016pixel,
  author    = {van den Oord, A{\"a}ron and Kalchbrenner, Nal and Kavukcuoglu, Koray},
  title     = {Pixel recurrent neural networks},
  booktitle = {International Conference on Machine Learning},
  year      = {2016},
  eprint    = {1601.06759}, archiveprefix = {arXiv}
}

@inproceedings{theis2016note,
  author    = {Theis, Lucas and van den Oord, A{\"a}ron and Bethge, Matthias},
  title     = {A note on the evaluation of generative models},
  booktitle = {International Conference on Learning Representations},
  year      = {2016},
  eprint    = {1511.01844}, archiveprefix = {arXiv}
}

@inproceedings{vandenoord2016conditional,
  author    = {van den Oord, A{\"a}ron and Kalchbrenner, Nal and Vinyals, Oriol and Espeholt, Lasse and Graves, Alex and
               Kavukcuoglu, Koray},
  title     = {Conditional image generation with {PixelCNN} decoders},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2016},
  eprint    = {1606.05328}, archiveprefix = {arXiv}
}

@inproceedings{dinh2017density,
  author    = {Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy},
  title     = {Density estimation using {Real NVP}},
  booktitle = {International Conference on Learning Representations},
  year      = {2017},
  eprint    = {1605.08803}, archiveprefix = {arXiv}
}

@inproceedings{gomez2017reversible,
  author    = {Gomez, Aidan N. and Ren, Mengye and Urtasun, Raquel and Grosse, Roger B.},
  title     = {The reversible residual network: Backpropagation without storing activations},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2017},
  eprint    = {1707.04585}, archiveprefix = {arXiv}
}

@inproceedings{papamakarios2017masked,
  author    = {Papamakarios, George and Pavlakou, Theo and Murray, Iain},
  title     = {Masked autoregressive flow for density estimation},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2017},
  eprint    = {1705.07057}, archiveprefix = {arXiv}
}

@inproceedings{roeder2017sticking,
  author    = {Roeder, Geoffrey and Wu, Yuhuai and Duvenaud, David K.},
  title     = {Sticking the landing: Simple, lower-variance gradient estimators for variational inference},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2017},
  eprint    = {1703.09194}, archiveprefix = {arXiv}
}

@inproceedings{chen2018neural,
  author    = {Chen, Ricky T. Q. and Rubanova, Yulia and Bettencourt, Jesse and Duvenaud, David},
  title     = {Neural ordinary differential equations},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2018},
  eprint    = {1806.07366}, archiveprefix = {arXiv}
}

@inproceedings{kingma2018glow,
  author    = {Kingma, Diederik P. and Dhariwal, Prafulla},
  title     = {Glow: Generative flow with invertible 1x1 convolutions},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2018},
  eprint    = {1807.03039}, archiveprefix = {arXiv}
}

@inproceedings{durkan2019neural,
  author    = {Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George},
  title     = {Neural spline flows},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2019},
  eprint    = {1906.04032}, archiveprefix = {arXiv}
}

@inproceedings{grathwohl2019ffjord,
  author    = {Grathwohl, Will and Chen, Ricky T. Q. and Bettencourt, Jesse and Sutskever, Ilya and Duvenaud, David},
  title     = {{FFJORD}: Free-form continuous dynamics for scalable reversible generative models},
  booktitle = {International Conference on Learning Representations},
  year      = {2019},
  eprint    = {1810.01367}, archiveprefix = {arXiv}
}

@inproceedings{ho2019flow,
  author    = {Ho, Jonathan and Chen, Xi and Srinivas, Aravind and Duan, Yan and Abbeel, Pieter},
  title     = {{Flow++}: Improving flow-based generative models with variational dequantization and architecture
               design},
  booktitle = {International Conference on Machine Learning},
  year      = {2019},
  eprint    = {1902.00275}, archiveprefix = {arXiv}
}

@inproceedings{hoogeboom2019emerging,
  author    = {Hoogeboom, Emiel and van den Berg, Rianne and Welling, Max},
  title     = {Emerging convolutions for generative normalizing flows},
  booktitle = {International Conference on Machine Learning},
  year      = {2019},
  eprint    = {1901.11137}, archiveprefix = {arXiv}
}

@inproceedings{finlay2020train,
  author    = {Finlay, Chris and Jacobsen, J{\"o}rn-Henrik and Nurbekyan, Levon and Oberman, Adam M.},
  title     = {How to train your neural {ODE}: The world of {Jacobian} and kinetic regularization},
  booktitle = {International Conference on Machine Learning},
  year      = {2020},
  eprint    = {2002.02798}, archiveprefix = {arXiv}
}

@article{papamakarios2021normalizing,
  author  = {Papamakarios, George and Nalisnick, Eric and Rezende, Danilo Jimenez and Mohamed, Shakir and
             Lakshminarayanan, Balaji},
  title   = {Normalizing flows for probabilistic modeling and inference},
  journal = {Journal of Machine Learning Research},
  volume  = {22},
  number  = {57},
  pages   = {1--64},
  year    = {2021},
  eprint  = {1912.02762}, archiveprefix = {arXiv}
}

@inproceedings{lipman2023flow,
  author    = {Lipman, Yaron and Chen, Ricky T. Q. and Ben-Hamu, Heli and Nickel, Maximilian and Le, Matt},
  title     = {Flow matching for generative modeling},
  booktitle = {International Conference on Learning Representations},
  year      = {2023},
  eprint    = {2210.02747}, archiveprefix = {arXiv}
}
"""

PAPERS: dict[str, str] = {entry.partition("{")[2].partition(",")[0]: entry for entry in _ENTRIES.strip().split("\n\n")}
